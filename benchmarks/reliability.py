"""What stock Ray Tune does where our fault tests kill us: python -m benchmarks.reliability, about 8 minutes.

Ours is what our own tests assert, by name; `make faults` runs them. Stock is measured here, on a search that trains a
formula: only what Ray Tune does is at stake. The claim: killed at random moments, with the guides' settings, it trains
epochs again that the driver had been told of, and we train none.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import machine, quiet
from benchmarks.peers import stock_faults, stock_kills
from benchmarks.peers.stock_kills import Killed, Undisturbed
from benchmarks.peers.stock_script import Setup

WHOLE = Setup(epoch_s=0.5)
"""The search whose driver is killed at random moments."""

READING = """\
Stock's search trains a formula, 0.2 to 1 s an epoch; its state is saved every 10 s or, with `num_to_keep`, after that
many checkpoints. What was told within the last 10 s is lost: dozens of these epochs, at most one where an epoch takes
minutes; the rungs are forgotten however long an epoch is. Our figures are of another search, a real one, and of the
tests named. Seconds are of a shared machine."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `stock` measures in a folder of its own; None: it could not be had here."""

    done: str
    ours: str
    stock: Callable[[Path], str | Killed | None]


def rows(whole: Undisturbed, again: Undisturbed) -> list[Row]:
    """again: the undisturbed search a second time."""
    repeats = "yes" if whole.last_epochs == again.last_epochs else "no"
    return [
        Row(
            "nothing, twice: the same search?",
            "yes: `on_ray/test_search.py`",
            lambda _: f"{repeats}: {len(whole.last_epochs)} trials, {sum(whole.last_epochs.values())} epochs",
        ),
        Row(
            "driver killed (SIGKILL) at random moments, settings as in the guides",
            "10 deaths: **0 recorded epochs** trained again, 1 whose checkpoint was not recorded yet; trials,"
            " parameters, metrics and decisions of the undisturbed search; processes: all gone within 0.1 s:"
            " `faults/test_kill_points.py`",
            lambda place: stock_kills.driver_killed_at_random(place, whole, num_to_keep=None),
        ),
        Row(
            "the same with `CheckpointConfig(num_to_keep=2)`",
            "the same: checkpoints are always let go",
            lambda place: stock_kills.driver_killed_at_random(place, whole, num_to_keep=2),
        ),
        Row(
            "what scheduler and sampler know after a restore (`num_to_keep=2`)",
            "all: both are rebuilt from the study: `faults/test_kill_points.py`",
            lambda place: stock_kills.knowledge_after_restore(place, whole),
        ),
        Row(
            "newest state of the search cut in half",
            "the journal's last line cut in half: cut off, the same study: `faults/test_kill_points.py`,"
            " `study/test_journal.py`",
            stock_kills.snapshot_torn,
        ),
        Row(
            "a trial's process killed, twice; then it raises at one epoch",
            "goes on from the last checkpoint: `faults/test_driver.py`; deaths and errors are counted apart:"
            " `driver/test_dispatch_failures.py`",
            stock_faults.worker_killed,
        ),
        Row(
            "a trial's process stopped (SIGSTOP)",
            "ended and handed out again after its deadline (60 s in the test): `faults/test_driver.py`",
            stock_faults.trial_stopped,
        ),
        Row(
            "no memory above a batch size",
            "goes on with half as many photos at once, later trials begin so; what does not fit with the"
            " fewest photos, twice, is infeasible, and the sampler is told: `driver/test_out_of_memory.py`",
            stock_faults.out_of_memory,
        ),
        Row(
            "a metric is NaN",
            "ended at once, infeasible, the sampler is told: `on_ray/test_search.py`",
            stock_faults.not_a_number,
        ),
        Row(
            "every trial raises the same error",
            "the search stops after 3 trials, with the error: `driver/test_dispatch_failures.py`",
            stock_faults.every_trial_fails,
        ),
        Row(
            "newest checkpoint cut in half, the trial's process killed",
            "goes on from the one before, the same study in the end: `faults/test_disk.py`",
            stock_faults.checkpoint_torn,
        ),
        Row(
            "the disk fills up",
            "stops in good order with one line; with room again it goes on, 0 recorded epochs again, the same study:"
            " `faults/test_disk.py`",
            stock_faults.disk_full,
        ),
        Row(
            "a finished search resumed with more trials",
            "goes on to as many, the old ones untouched: `faults/test_kill_points.py`",
            stock_kills.resumed_with_more_trials,
        ),
        Row(
            "a second driver on the same folder",
            "refused, with the first's host and process: `on_ray/test_search.py`, `study/test_journal.py`",
            stock_kills.second_driver,
        ),
        Row(
            "Ctrl-C once",
            "the epoch under way is recorded and none begun, exit code 130, one line says how to go on, 0 epochs again,"
            " no process left after 5 s: `faults/test_driver.py`",
            stock_kills.ctrl_c_once,
        ),
    ]


def main() -> None:
    arguments = _parse()
    quiet()
    print(f"{arguments.at_once} searches at once; {machine()}\n")
    short = tempfile.TemporaryDirectory(prefix="st", dir="/tmp")  # Ray's sockets lie below it: 107 characters at most
    with short as parent, ThreadPoolExecutor(arguments.at_once) as pool:
        whole, again = pool.map(lambda _: stock_kills.undisturbed(Path(parent), WHOLE), range(2))
        listed = [row for row in rows(whole, again) if arguments.only in row.done]
        found = list(pool.map(lambda row: measured(row, Path(parent)), listed))
    texts = [one.text() if isinstance(one, Killed) else one for one in found]
    body = [(row.done, row.ours, text) for row, text in zip(listed, texts, strict=True)]
    print(markdown(("what is done", "carsearch", "stock Ray Tune"), body))
    print(f"\n{READING}\n")
    print(json.dumps(verdict([one for one in found if isinstance(one, Killed)])), flush=True)


def measured(row: Row, parent: Path) -> str | Killed:
    """A row that could not be measured says why: it is neither kept silent nor taken for a result."""
    started = time.monotonic()
    try:
        found = row.stock(Path(tempfile.mkdtemp(prefix="p", dir=parent)))
    except Exception as error:  # noqa: BLE001 - no row costs another its measurement
        traceback.print_exc()
        return f"not measured: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    told = found.text() if isinstance(found, Killed) else found
    print(f"{time.monotonic() - started:.0f} s: {row.done}: {told}", file=sys.stderr, flush=True)
    return "not measured: no file system can be mounted here" if found is None else found


def verdict(killed: Sequence[Killed]) -> dict[str, object]:
    """The JSON line: the search that was killed with the guides' settings, against the nought of our own tests."""
    heard_again = {one.num_to_keep: one.heard_again for one in killed}
    return {
        "name": "reliability",
        "claim": "recorded epochs trained again after a driver's death: ours fewer than stock's",
        "ours": 0,
        "peer": heard_again.get(None),
        "peer_num_to_keep_2": heard_again.get(2),
        "ratio": None,
        "target": None,
        "holds": heard_again.get(None, 0) > 0,
        "loadavg": round(os.getloadavg()[0], 1),
    }


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table; what would end a cell or a line is taken out."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--at-once", type=int, default=2, help="searches at a time (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows in whose first column this stands")
    return parser.parse_args()


if __name__ == "__main__":
    main()
