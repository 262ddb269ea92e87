"""What becomes of a stock search whose driver is killed, interrupted, doubled or restored: measured.

Each function is one row: what was done is in its name, what it came to in the text that it returns.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.peers import stock_notes as notes
from benchmarks.peers.stock_life import Leftovers, Life
from benchmarks.peers.stock_script import Setup

DEATHS = 5
HEARD_BETWEEN = (6, 16)
"""Epochs that a driver hears of before its random death: the least, and one more than the most."""
LEFT_AFTER_S = 20.0
"""How long a dead driver's processes are watched; then they are ended, so that the next driver is alone."""
PATIENCE_S = 240.0
"""Longer than Ray's start on a busy machine takes."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A search that nobody killed."""

    setup: Setup
    last_epochs: Mapping[str, int]
    """By trial: what the scheduler's decisions came to."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A search whose drivers were killed, against the same search undisturbed."""

    deaths: int
    heard_again: int
    """Epochs trained again that the driver had been told of."""
    ended_again: int
    """Finished trials that were run again."""
    epochs: int
    """Of the undisturbed search."""
    trials: int
    """Of the undisturbed search."""
    same_params: int
    """Trials in the result that the undisturbed search has too."""
    same_length: int
    """Those of them that were let go on as long as there."""
    lost: int
    """Trials that began and are in no result."""
    left: Leftovers
    """By the slowest death."""
    num_to_keep: int | None = None
    """Of `Setup`."""

    def text(self) -> str:
        return (
            f"deaths: {self.deaths}; epochs trained again that the driver had been told of: **{self.heard_again}** (the"
            f" whole search has {self.epochs}); finished trials run again: {self.ended_again}; trials with the"
            f" undisturbed search's parameters: {self.same_params} of {self.trials}, with its length too:"
            f" {self.same_length}; trials that had begun and are in no result: {self.lost}; processes:"
            f" {left_text(self.left)}"
        )


def weigh(
    written: Sequence[notes.Note], result: Sequence[str], whole: Mapping[str, int], left: Sequence[Leftovers]
) -> Killed:
    """result: the trials that the last driver returned; left: one for each death, of which there is one at least."""
    last = notes.last_epochs(written)
    same = set(result) & set(whole)
    return Killed(
        deaths=len(left),
        heard_again=notes.heard_and_trained_again(written),
        ended_again=notes.ended_and_begun_again(written),
        epochs=sum(whole.values()),
        trials=len(whole),
        same_params=len(same),
        same_length=sum(last.get(key) == whole[key] for key in same),
        lost=len(set(notes.first_begun(written)) - set(result)),
        left=slowest(left),
    )


def slowest(left: Sequence[Leftovers]) -> Leftovers:
    """The longest seconds of each kind, and every name that outlived the watch."""

    def longest(seconds: Sequence[float | None]) -> float | None:
        return None if None in seconds else max(figure for figure in seconds if figure is not None)

    return Leftovers(
        longest([one.worker_s for one in left]),
        longest([one.all_s for one in left]),
        tuple(sorted({name for one in left for name in one.outlived})),
    )


def left_text(left: Leftovers) -> str:
    if left.all_s is not None:
        return f"all gone within {left.all_s:.1f} s"
    worker = f"gone within {left.worker_s:.1f} s" if left.worker_s is not None else f"there after {LEFT_AFTER_S:g} s"
    return f"the trial's own {worker}; left after {LEFT_AFTER_S:g} s: {', '.join(left.outlived)}"


def undisturbed(place: Path, setup: Setup) -> Undisturbed:
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        life.wait()
        return Undisturbed(setup, notes.last_epochs(life.notes()))


def driver_killed_at_random(place: Path, whole: Undisturbed, *, num_to_keep: int | None, seed: int = 0) -> Killed:
    chance = np.random.default_rng(seed)
    left: list[Leftovers] = []
    with Life(place, replace(whole.setup, num_to_keep=num_to_keep), patience_s=PATIENCE_S) as life:
        for _ in range(DEATHS):
            heard, then_s = int(chance.integers(*HEARD_BETWEEN)), float(chance.uniform(0.0, 1.0))
            wanted = len(life.notes("heard")) + heard
            life.start()
            life.wait_for_end_or(lambda wanted=wanted: len(life.notes("heard")) >= wanted)
            time.sleep(then_s)
            if life.driver.poll() is not None:
                break
            life.kill()
            left.append(life.leftovers(LEFT_AFTER_S))
        if life.driver.returncode:
            life.start()
            life.wait()
        killed = weigh(life.notes(), [trial["key"] for trial in life.result()], whole.last_epochs, left)
    return replace(killed, num_to_keep=num_to_keep)


def knowledge_after_restore(place: Path, whole: Undisturbed) -> str:
    """Of a driver killed late in the search, long enough after its last snapshot was due."""
    with Life(place, replace(whole.setup, num_to_keep=2), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for(lambda: len(life.notes("ended")) >= len(whole.last_epochs) - 2, "all trials but two")
        life.wait_for_new("heard", 2)
        life.kill()
        life.leftovers(LEFT_AFTER_S)
        life.start()
        life.wait_for_new("heard")
        ((in_rungs, rungs_left),) = notes.knowledge_lost(life.notes(), "in_rungs")
        ((in_sampler, sampler_left),) = notes.knowledge_lost(life.notes(), "in_sampler")
    return (
        f"ASHA's rungs held {in_rungs} values, after the restored driver's first report {rungs_left};"
        f" OptunaSearch knew {in_sampler} ended trials, then {sampler_left}"
    )


def resumed_with_more_trials(place: Path) -> str:
    setup = Setup(trials=2, epochs=3)
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        life.wait()
        life.setup = replace(setup, trials=4)
        life.start()
        code = life.wait()
        had = len(life.result())
    told = "without a word" if "num_samples" not in life.output() else "and says so"
    return (
        f"a finished search of 2 trials, restored by a script that asks for 4: {had} trials, exit code {code}, {told}"
        " (`Tuner.restore` takes no `num_samples`)"
    )


def second_driver(place: Path) -> str:
    with Life(place, Setup(trials=4, epoch_s=0.5), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for_new("heard", 3)
        life.start()
        life.wait()
        codes = [driver.returncode for driver in life.drivers]
        trained = [
            {(note.key, note.epoch) for note in life.notes("trained") if note.life == number} for number in (0, 1)
        ]
    if not trained[1]:
        return f"refused, exit codes {codes}"
    return (
        f"not refused: both trained in one folder, {len(trained[0] & trained[1])} epochs twice; exit codes"
        f" {codes[0]} and {codes[1]}"
    )


def ctrl_c_once(place: Path) -> str:
    with Life(place, Setup(trials=3, epoch_s=1.0), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for_new("heard", 4)
        had, interrupted = len(life.notes("heard")), time.monotonic()
        life.look()
        os.killpg(life.driver.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
        code = life.wait()
        ended_s = time.monotonic() - interrupted
        left = life.leftovers(LEFT_AFTER_S)
        under_way = len(life.notes("heard")) - had
        says_how = "Tuner.restore" in life.output()
        life.start()
        life.wait()
        again = notes.heard_and_trained_again(life.notes())
    return (
        f"ended after {ended_s:.1f} s with exit code {code}, {'saying' if says_how else 'not saying'} how to go on; the"
        f" epoch under way was {'finished' if under_way else 'given up'}; restored, {again} epochs were trained again;"
        f" processes: {left_text(left)}"
    )


def snapshot_torn(place: Path) -> str:
    with Life(place, Setup(trials=3, num_to_keep=2), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for_new("heard", 5)
        life.kill()
        life.leftovers(LEFT_AFTER_S)
        before = notes.first_begun(life.notes())
        newest = max(life.experiment.glob("experiment_state-*.json"), key=lambda path: path.stat().st_mtime)
        os.truncate(newest, newest.stat().st_size // 2)
        life.start()
        code = life.wait()
        after = life.result()
        again, last_words = notes.heard_and_trained_again(life.notes()), life.last_words()
    if code:
        return f"restoring ends with exit code {code}: {last_words}"
    kept = sum(trial["key"] in before for trial in after)
    return (
        f"{len(after)} trials of 3 in the end, {kept} of the {len(before)} begun before; epochs trained again: {again}"
    )
