"""What becomes of a stock search whose trials die, hang, fail, diverge or lose their checkpoints: measured.

Each function is one row: what was done is in its name, what it came to in the text that it returns.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers import stock_notes as notes
from benchmarks.peers.stock_kills import LEFT_AFTER_S, PATIENCE_S
from benchmarks.peers.stock_life import Life
from benchmarks.peers.stock_script import MAX_FAILURES, Setup, space, worth

HANG_S = 60.0
DISK_MB = 24
LEFT_BYTES = 64 * 1024
ASKED = 60
"""Proposals of the searcher alone; TPE's random start is 10 trials that count."""


def worker_killed(place: Path) -> str:
    """Twice; then the trial itself raises, at the same epoch each time."""
    setup = Setup(trials=1, epoch_s=0.5, fault="error", fault_epoch=7)
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        for _ in range(2):
            life.wait_for_new("heard", 2)
            life.signal_worker(signal.SIGKILL)
        life.wait()
        again = notes.heard_and_trained_again(life.notes())
        begun = [note.epoch for note in life.notes("begun")]
        raised, (trial,) = len(life.notes("raised")), life.result()
    origin = "from its checkpoint" if all(begun[1:3]) else "from its start"
    counted = "apart" if raised > MAX_FAILURES else "as one"
    return (
        f"goes on {origin}, {again} epochs that the driver had been told of trained again; with"
        f" `max_failures={MAX_FAILURES}` and 2 kills, it {'has failed' if trial['failed'] else 'ended'} when it has"
        f" raised {raised} times: deaths and errors are counted {counted}"
    )


def trial_stopped(place: Path) -> str:
    with Life(place, Setup(trials=2), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for_new("heard", 2)
        life.signal_worker(signal.SIGSTOP)
        time.sleep(1.0)  # what was under way is noted
        before = len(life.notes())
        time.sleep(HANG_S)
        noticed = len(life.notes()) > before or life.driver.poll() is not None
    return f"{'noticed' if noticed else 'not noticed'} within {HANG_S:g} s, {HANG_S / 0.2:g} times its epoch"


def out_of_memory(place: Path) -> str:
    setup = Setup(trials=6, epochs=3, fault="memory")
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        life.wait()
        raised = len(life.notes("raised"))
        failed = sum(trial["failed"] for trial in life.result())
    early, late = too_large_proposals()
    return (
        f"{failed} of {setup.trials} trials had no room: each was run {raised / max(1, failed):g} times with the same"
        f" batch, then failed; OptunaSearch asked alone proposes batches without room in {early} of its first"
        f" {ASKED // 2} trials and in {late} of the next {ASKED // 2}"
    )


def too_large_proposals() -> tuple[int, int]:
    """Of the searcher itself, told of each trial's end as Tune tells it; in the first half and in the second."""
    setup = Setup()
    searcher = OptunaSearch(OptunaSearch.convert_search_space(space(setup)), metric="accuracy", mode="max", seed=0)
    too_large = []
    for number in range(ASKED):
        config = searcher.suggest(str(number))
        too_large.append(config["batch_size"] > setup.room)
        if too_large[-1]:
            searcher.on_trial_complete(str(number), error=True)
        else:
            searcher.on_trial_complete(str(number), {"accuracy": worth(config)})
    return sum(too_large[: ASKED // 2]), sum(too_large[ASKED // 2 :])


def not_a_number(place: Path) -> str:
    setup = Setup(trials=4, fault="nan", fault_trial=1, fault_epoch=2)
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        life.wait()
        struck = notes.first_begun(life.notes())[1]
        epochs = notes.last_epochs(life.notes())[struck]
        known = life.notes("ended")[-1].in_sampler
    told = "is told of it" if known == setup.trials else "never hears of its end"
    return (
        f"NaN from epoch 2 on: trained on to epoch {epochs} of {setup.epochs}; counts as complete; the sampler {told}"
    )


def every_trial_fails(place: Path) -> str:
    setup = Setup(trials=5, fault="error")
    with Life(place, setup, patience_s=PATIENCE_S) as life:
        life.start()
        code = life.wait()
        raised, trials = len(life.notes("raised")), len(life.result())
    return (
        f"all {trials} of {setup.trials} trials are run, each {raised / trials:g} times: {raised} times the same error,"
        f" then exit code {code}"
    )


def checkpoint_torn(place: Path) -> str:
    with Life(place, Setup(trials=2, epoch_s=0.5), patience_s=PATIENCE_S) as life:
        life.start()
        life.wait_for_new("heard", 4)
        life.signal_worker(signal.SIGKILL)
        heard = notes.last_epochs(life.notes())
        ((struck, epoch),) = heard.items()
        folders = sorted(life.experiment.glob("*/checkpoint_*"))
        for folder in folders[epoch - 1 :]:
            state = folder / "state.npz"
            os.truncate(state, state.stat().st_size // 2)
        life.wait()
        tries = sum(note.key == struck for note in life.notes("started")) - 1
        trial = next(trial for trial in life.result() if trial["key"] == struck)
    whole = f"{min(epoch - 1, len(folders))} whole checkpoints lie beside it"
    if trial["failed"]:
        return f"tried {tries} times, then the trial has failed; {whole}"
    return f"tried {tries} times, then complete; {whole}"


def disk_full(place: Path) -> str | None:
    """None where no file system can be mounted."""
    with small_disk(place) as holder:
        if holder is None:
            return None
        prefix = ("nsenter", f"--mount=/proc/{holder}/ns/mnt")
        setup = Setup(trials=4, epoch_s=0.5, checkpoint_bytes=2**20, num_to_keep=2)
        seen = Path(f"/proc/{holder}/root") / (place / "disk").relative_to("/")
        with Life(place, setup, prefix=prefix, storage=place / "disk", patience_s=PATIENCE_S) as life:
            life.start()
            life.wait_for(lambda: bool(life.notes("ended")), "a finished trial")
            life.wait_for_new("heard", 2)
            room = os.statvfs(seen)
            (seen / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - LEFT_BYTES))
            filled = time.monotonic()
            first = life.wait()
            ended_s, failed = time.monotonic() - filled, len(life.notes("failed"))
            life.leftovers(LEFT_AFTER_S)
            (seen / "ballast").unlink()
            life.start()
            second = life.wait()
            written, result, last_words = life.notes(), life.result(), life.last_words()
        told = "No space left" in life.output(0)
    complete = sum(not trial["failed"] for trial in result)
    after = (
        f"restoring ends with exit code {second}: {last_words}"
        if second
        else f"restored, {complete} of {setup.trials} trials are complete; epochs trained again:"
        f" {notes.heard_and_trained_again(written)}; finished trials run again: {notes.ended_and_begun_again(written)}"
    )
    return (
        f"the driver ends {ended_s:.0f} s later with exit code {first}, {failed} trials failed of it, the disk"
        f" {'' if told else 'not '}named; with room again, {after}"
    )


@contextmanager
def small_disk(place: Path) -> Iterator[int | None]:
    """A process that sees `place`/disk as a file system of its own; None where there is none to be had."""
    (place / "disk").mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size={DISK_MB}m none "$0" && echo mounted && exec sleep infinity'
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        yield None
        return
    command = ["unshare", "--mount", "sh", "-c", mount, str(place / "disk")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder:
        try:
            yield holder.pid if holder.stdout is not None and holder.stdout.readline() else None
        finally:
            holder.kill()
