"""Real kills, stops and interrupts of a search. Whatever dies, the study's results stay the same."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from search.final.final_study import final_reports
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from tests.helpers.search.processes import (
    children_below,
    command,
    descendants,
    is_alive,
    kill,
    parent_of,
    run_cli,
    start_cli,
    wait_until,
)
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import EXPERIMENT, FIXED, write_tiny

pytestmark = pytest.mark.fault

ALIVE_AFTER_KILL_S = 5.0

SAID_AT_ONCE_S = 2.0

FIRST_EPOCH_S = 60
"""Long enough for the tiny search's first epoch on a busy machine; also the time until a stuck trial is killed."""


class Driver:
    """`carsearch run` as a process that a test may kill, with its descendants."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.cwd = cwd
        self.folder = StudyFolder(cwd / "results" / "tiny")
        self.process = start_cli(*arguments, cwd=cwd)
        self.below: set[int] = set()

    @property
    def output(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8")

    def await_epochs(self, count: int) -> None:
        """Waits until the study has recorded `count` epochs over all trials."""
        self._await(lambda: self.epochs() >= count, f"{count} epochs")

    def epochs(self) -> int:
        if not self.folder.log.exists():
            return 0
        return self.folder.log.read_text(encoding="utf-8", errors="replace").count('{"report:')

    def await_child(self, *, not_in: frozenset[int] = frozenset()) -> int:
        """A trial's process, forked by the fork server, in the middle of its segment."""
        found: set[int] = set()

        def is_there() -> bool:
            found.update(self.children() - not_in)  # kept: it may be gone a moment later
            return bool(found)

        self._await(is_there, "a trial's process")
        return max(found)

    def children(self) -> frozenset[int]:
        return children_below(self.process.pid)

    def await_new_child(self) -> int:
        """A trial's process that has just started, with at least one epoch left to train."""
        return self.await_child(not_in=self.children())

    def await_word(self, word: str, *, within_s: float) -> None:
        wait_until(lambda: word in self.output, f"{word!r} in the output", within_s=within_s)

    def actor(self) -> int:
        return next(pid for pid, name in descendants(self.process.pid).items() if name.startswith("ray::ImplicitFunc"))

    def look(self) -> set[int]:
        """All current descendants of the driver. They are remembered, so that the fixture can end them."""
        self.below |= set(descendants(self.process.pid))
        return self.below

    def wait(self) -> int:
        return self.process.wait(timeout=300)

    def end(self) -> None:
        self.below |= set(descendants(self.process.pid)) if is_alive(self.process.pid) else set()
        kill({self.process.pid} | {pid for pid in self.below if is_alive(pid)})
        self.process.wait()

    def _await(self, condition, what: str) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, f"the driver ended before {what}:\n{self.output}"
            return condition()

        wait_until(holds, what)


@pytest.fixture
def start(finished: Ran, tmp_path: Path):
    """Starts `carsearch run` on the photos of the undisturbed search; ends all processes left by the test."""
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    drivers: list[Driver] = []

    def run(text: str = EXPERIMENT) -> Driver:
        write_tiny(tmp_path, text)
        drivers.append(Driver(tmp_path, "run", "tiny.yaml"))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.end()


def test_a_killed_driver_leaves_no_process_and_loses_no_epoch(start, finished: Ran) -> None:
    driver = start()
    driver.await_epochs(3)
    driver.await_child()
    looked_on = run_cli("status", str(driver.folder.root), cwd=driver.cwd)
    reported = run_cli("report", str(driver.folder.root), cwd=driver.cwd)
    below = driver.look()

    driver.process.send_signal(signal.SIGKILL)

    wait_until(lambda: not _alive(below), "an end to all processes of the study", within_s=ALIVE_AFTER_KILL_S)
    before = read_records(driver.folder)
    assert sum(record.fidelity for record in before) >= 3
    assert (looked_on.returncode, reported.returncode) == (0, 0)
    assert re.search(r"\d running", looked_on.stdout)

    resumed = run_cli("resume", str(driver.folder.root), cwd=driver.cwd)

    assert resumed.returncode == 0, resumed.stderr
    after = read_records(driver.folder)
    for old in before:
        assert after[old.number].reports[: old.fidelity] == old.reports, "no finished epoch is trained again"
    assert timeless(after, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_trials_of_a_killed_worker_and_actor_are_handed_out_again(start, finished: Ran) -> None:
    driver = start()
    driver.await_epochs(1)
    child = driver.await_child()
    os.kill(child, signal.SIGKILL)
    driver.await_child(not_in=frozenset({child}))
    driver.await_epochs(4)
    driver.await_child(not_in=driver.children())  # one at its beginning
    os.kill(driver.actor(), signal.SIGKILL)
    assert driver.wait() == 0, driver.output

    records = read_records(driver.folder)
    assert sum(len(record.deaths) for record in records) == 2, "the study shows each death"
    assert all(record.cause for record in records if record.deaths)
    assert records[0].cause == "the trial's process died with exit code -9"
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)
    assert "was interrupted and waits to resume" in driver.output


@pytest.mark.release
def test_a_trial_killed_within_an_epoch_resumes_there(start, finished: Ran) -> None:
    driver = start(_with("checkpoints: {checkpoint_minutes: 0.00001}"))  # after each batch

    seen: set[Path] = set()

    def has_new_part() -> bool:
        assert driver.process.poll() is None, f"no kill was within an epoch:\n{driver.output}"
        new = set(driver.folder.trials.rglob("part-*.npz")) - seen
        seen.update(new)
        return bool(new) or resumes in driver.output

    resumes = "resumes within epoch"
    while resumes not in driver.output:
        wait_until(has_new_part, "the state within an epoch")
        kill(driver.children())
    assert driver.wait() == 0, driver.output

    records = read_records(driver.folder)
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)
    assert not list(driver.folder.trials.rglob("part-*.npz")), "none is left of a finished search"


def test_a_stuck_trial_is_killed_and_resumes(start, finished: Ran) -> None:
    driver = start(_with("deadline: {first_epoch_minutes: %g}" % (FIRST_EPOCH_S / 60)))
    driver.await_epochs(1)
    stuck = driver.await_new_child()
    os.kill(stuck, signal.SIGSTOP)
    assert driver.wait() == 0, driver.output

    assert not is_alive(stuck)
    records = read_records(driver.folder)
    causes = [record.cause for record in records if record.deaths]
    assert causes == [f"no report within {FIRST_EPOCH_S} s (search.deadline.first_epoch_minutes): killed as stuck"]
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_a_killed_fork_server_is_replaced_and_its_trial_resumes(start, finished: Ran) -> None:
    driver = start()
    driver.await_epochs(1)
    child = driver.await_new_child()
    server = parent_of(child)
    os.kill(server, signal.SIGKILL)
    assert driver.wait() == 0, driver.output

    assert not is_alive(child), "it ended when its actor's pipe closed"
    records = read_records(driver.folder)
    assert sum(len(record.deaths) for record in records) == 1
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_ctrl_c_lets_the_epoch_end_and_says_how_to_resume(start, finished: Ran) -> None:
    driver = start()
    driver.await_epochs(1)
    driver.await_new_child()
    below, had = driver.look(), driver.epochs()

    os.killpg(driver.process.pid, signal.SIGINT)  # like a terminal, to the whole foreground process group

    driver.await_word("Ctrl-C again stops now", within_s=SAID_AT_ONCE_S)
    assert driver.wait() == 130, driver.output
    wait_until(lambda: not _alive(below), "an end to all processes of the study", within_s=ALIVE_AFTER_KILL_S)
    assert f"carsearch resume {driver.folder.root}" in driver.output
    assert "Traceback" not in driver.output
    before = read_records(driver.folder)
    assert driver.epochs() == had + 1, "the running epoch is recorded, and no other starts"
    assert TrialState.RUNNING not in {record.state for record in before}
    assert all(record.deaths == () for record in before), "an interruption is not a death"

    resumed = run_cli("resume", str(driver.folder.root), cwd=driver.cwd)
    assert resumed.returncode == 0, resumed.stderr
    after = read_records(driver.folder)
    for old in before:
        assert after[old.number].reports[: old.fidelity] == old.reports, "no finished epoch is trained again"
    assert timeless(after, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_a_second_ctrl_c_does_not_wait(start) -> None:
    driver = start()
    driver.await_epochs(1)
    os.kill(driver.await_new_child(), signal.SIGSTOP)  # its epoch never ends
    below, had = driver.look(), driver.epochs()
    os.killpg(driver.process.pid, signal.SIGINT)
    driver.await_word("Ctrl-C again stops now", within_s=SAID_AT_ONCE_S)
    os.killpg(driver.process.pid, signal.SIGINT)
    driver.await_word("stopping now", within_s=SAID_AT_ONCE_S)

    assert driver.wait() == 130, driver.output
    wait_until(lambda: not _alive(below), "an end to all processes of the study", within_s=ALIVE_AFTER_KILL_S)
    assert driver.output.count(f"carsearch resume {driver.folder.root}") == 1
    assert "Traceback" not in driver.output
    records = read_records(driver.folder)
    assert TrialState.RUNNING not in {record.state for record in records}
    assert (driver.epochs(), sum(len(record.deaths) for record in records)) == (had, 0)


def test_after_sigterm_the_same_command_resumes_within_the_epoch(start, finished: Ran) -> None:
    driver = start(_with("nodes: {hand_over_seconds: 200}"))  # the machine may be busy
    driver.await_epochs(1)
    child = driver.await_new_child()
    os.kill(child, signal.SIGSTOP)  # before its first batch
    below, had = driver.look(), driver.epochs()
    driver.process.send_signal(signal.SIGTERM)
    driver.await_word("asked to end (SIGTERM): running epochs are saved", within_s=SAID_AT_ONCE_S)
    os.kill(child, signal.SIGCONT)

    assert driver.wait() == 143, driver.output
    wait_until(lambda: not _alive(below), "an end to all processes of the study", within_s=ALIVE_AFTER_KILL_S)
    assert f"continue with 'carsearch resume {driver.folder.root}' or 'carsearch run ... --or-resume'" in driver.output
    assert "Traceback" not in driver.output
    assert driver.epochs() == had
    before = read_records(driver.folder)
    assert TrialState.RUNNING not in {record.state for record in before}
    assert all(record.deaths == () for record in before), "an interruption is not a death"
    assert len(list(driver.folder.trials.rglob("part-*.npz"))) == 1

    again = run_cli("run", "tiny.yaml", "--or-resume", cwd=driver.cwd)
    assert again.returncode == 0, again.stderr
    assert "resumes within epoch" in again.stdout + again.stderr
    assert timeless(read_records(driver.folder), uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_a_killed_final_training_resumes_to_the_same_numbers(finished: Ran, tmp_path: Path) -> None:
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path, FIXED)
    whole = run_cli("train", "tiny.yaml", "--set", "name=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    folder = StudyFolder(tmp_path / "results" / "tiny")

    process = start_cli("train", "tiny.yaml", cwd=tmp_path)
    try:
        wait_until(lambda: any(final_reports(folder)), "an epoch")
        below = set(descendants(process.pid))
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not _alive(below), "an end to its processes", within_s=ALIVE_AFTER_KILL_S)
    had = len(final_reports(folder)[0])
    assert not folder.scores.exists()
    with folder.retrain_study.log.open("a", encoding="utf-8") as torn:
        torn.write('{"op_code": 8, "wor')
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)

    assert again.returncode == 0, again.stderr
    assert sum(line.startswith("epoch") for line in again.stdout.splitlines()) == 3 - had
    assert _numbers(folder) == _numbers(StudyFolder(tmp_path / "results" / "whole"))


def _numbers(folder: StudyFolder) -> list[tuple[int, float, float, float]]:
    (reports,) = final_reports(folder)
    return [(report.epoch, report.train_loss, report.val_log_loss, report.val_accuracy) for report in reports]


def _alive(pids: set[int]) -> dict[int, str]:
    return {pid: command(pid) for pid in pids if is_alive(pid)}


def _with(setting: str) -> str:
    """The tiny experiment with one more setting of its search."""
    return EXPERIMENT.replace("  deterministic: true\n", f"  deterministic: true\n  {setting}\n")
