"""The final training's process is killed, stuck, interrupted or short of memory: the model stays the same."""

import logging
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from carcls.events import EpochReport
from search.final.final_study import final_reports
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from tests.helpers.search.hanging_final import EPOCHS, SCORES, hanging_child, score_at_once
from tests.helpers.search.processes import (
    children_below,
    descendants,
    is_alive,
    kill,
    parent_of,
    run_cli,
    start_cli,
    wait_until,
)
from tests.helpers.search.short_of_memory import short_child
from tests.helpers.search.tiny import FIXED, write_tiny

pytestmark = pytest.mark.fault

ALIVE_AFTER_S = 5.0
LONGER = FIXED.replace("epochs: 1,", "epochs: 2,")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """The fixed recipe, trained without faults."""
    cwd = tmp_path_factory.mktemp("whole")
    write_tiny(cwd, LONGER)
    done = run_cli("train", "tiny.yaml", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return StudyFolder(cwd / "results" / "tiny")


@pytest.fixture
def begun(whole: StudyFolder, tmp_path: Path):
    """The same training, as a process that has just recorded its first epoch."""
    shutil.copytree(whole.root.parents[1] / "data", tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(LONGER, encoding="utf-8")
    folder = StudyFolder(tmp_path / "results" / "tiny")
    process = start_cli("train", "tiny.yaml", cwd=tmp_path)
    below: set[int] = set()
    try:
        wait_until(lambda: process.poll() is not None or any(final_reports(folder)), "an epoch")
        below |= set(descendants(process.pid))
        yield process
    finally:
        kill({process.pid} | {pid for pid in below if is_alive(pid)})
        process.wait()


def test_a_killed_process_is_replaced_and_trains_to_the_same_numbers(begun, whole: StudyFolder, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "results" / "tiny")
    # Not one of the processes that prepare batches, which the training process forks itself.
    (child,) = (pid for pid in children_below(begun.pid) if parent_of(parent_of(pid)) == begun.pid)
    os.kill(child, signal.SIGKILL)
    assert begun.wait(timeout=300) == 0, output(tmp_path)

    assert "the final training's process died with exit code -9: resuming from the last checkpoint" in output(tmp_path)
    assert numbers(folder) == numbers(whole)
    assert result(folder) == result(whole)
    assert refused_in(folder) == [], "memory was not to blame"


def test_ctrl_c_lets_the_epoch_end_and_the_same_command_resumes(begun, whole: StudyFolder, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "results" / "tiny")
    below = set(descendants(begun.pid))
    os.killpg(begun.pid, signal.SIGINT)  # like a terminal, to the whole foreground process group
    assert begun.wait(timeout=300) == 130, output(tmp_path)
    wait_until(lambda: not any(map(is_alive, below)), "an end to all its processes", within_s=ALIVE_AFTER_S)

    had = len(final_reports(folder)[0])
    assert 1 < had < 4, "the running epoch is recorded, and no other starts"
    attempts = [path.name for path in folder.retrain_study.trial(0).glob("attempt-*")]
    assert attempts == ["attempt-0"], "by the process that started it"
    assert "Ctrl-C again stops now" in output(tmp_path)
    assert f"interrupted after {had} epochs: the same command resumes from there" in output(tmp_path)
    assert "Traceback" not in output(tmp_path)
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert sum(line.startswith("epoch") for line in again.stdout.splitlines()) == 4 - had
    assert numbers(folder) == numbers(whole)


@pytest.mark.release
def test_sigterm_ends_it_and_the_same_command_resumes(begun, whole: StudyFolder, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "results" / "tiny")
    below = set(descendants(begun.pid))
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(timeout=300) == 143, output(tmp_path)
    wait_until(lambda: not any(map(is_alive, below)), "an end to all its processes", within_s=ALIVE_AFTER_S)

    had = len(final_reports(folder)[0])
    assert 1 <= had < 4, "at most the running epoch was still recorded"
    assert "asked to end (SIGTERM), and ended: the same command continues" in output(tmp_path)
    assert "Traceback" not in output(tmp_path)
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert sum(line.startswith("epoch") for line in again.stdout.splitlines()) == 4 - had
    assert numbers(folder) == numbers(whole)


def test_out_of_memory_it_resumes_in_parts_and_stores_the_record(
    whole: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.driver.create import create_recipe_folder
    from search.errors import StudyError
    from search.experiment.experiment import load
    from search.final.retrain import ChildMains, retrain
    from search.policy.oom import smallest_micro_batch

    shutil.copytree(whole.root.parents[1] / "data", tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(LONGER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    experiment = load(tmp_path / "tiny.yaml")
    folder = create_recipe_folder(experiment, replace=False)
    fewest = smallest_micro_batch(experiment.bind({}))
    said: list[str] = []

    def train(room) -> None:
        mains = ChildMains(train=partial(short_child, room))
        retrain(folder, experiment, experiment.bind({}), trial=None, say=said.append, mains=mains)

    with pytest.raises(StudyError, match=f"stage 'top': not even {fewest} photos at once fit at 32 px"):
        train({(0, 32): 4, (1, 32): fewest - 1})
    refused = [line for line in said if line.startswith("no room")]
    assert [line.partition(" photos")[0] for line in refused] == [f"no room for {photos}" for photos in (8, 4, fewest)]
    assert refused[-1].endswith("with as many as before")
    (reports,) = final_reports(folder)
    assert [report.micro_batch for report in reports] == [4, 4]
    known = [(0.0, 8), (0.1, fewest)]
    assert refused_in(folder) == known

    said.clear()
    train({(0, 32): 4, (1, 32): fewest})

    (reports,) = final_reports(folder)
    assert [report.micro_batch for report in reports] == [4, 4, fewest, fewest]
    assert reports[1].checkpoint == "attempt-1/epoch-0002.npz", "the head was not trained again"
    assert "in expectation only" in reports[2].notes[0]
    assert not [line for line in said if line.startswith("no room")], "it starts with a micro-batch that fits"
    assert refused_in(folder) == known
    assert folder.model.exists()


def refused_in(folder: StudyFolder) -> list[tuple[float, int]]:
    """(unfrozen share, photos) of each stored out-of-memory record."""
    from search.driver.nodes.oom_records import OomRecords
    from search.study.study import Study

    known = OomRecords(Study.open(folder.retrain, read_only=True)).all()
    return [(one.key.unfreeze, one.photos) for one in known]


STUCK_AFTER_S, NOT_STARTED_AFTER_S = 2.0, 6.0


@pytest.fixture
def hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains in this process with children that get stuck; returns the output, including notices."""
    from search.driver.create import create_recipe_folder
    from search.experiment.experiment import load
    from search.final.retrain import ChildMains, retrain

    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, FIXED)
    shortest, first = STUCK_AFTER_S / 60, NOT_STARTED_AFTER_S / 60
    deadline = f"search.deadline={{shortest_minutes: {shortest}, first_epoch_minutes: {first}}}"
    folder = create_recipe_folder(load(file, [deadline]))
    said: list[str] = []

    def train(*had_by_attempt: int, max_restarts: int, interrupted: int | None = None):
        experiment = load(file, [deadline, f"search.max_restarts={max_restarts}"])
        main = partial(hanging_child, had_by_attempt=had_by_attempt, interrupted=interrupted)
        mains = ChildMains(train=main, score=score_at_once)
        return retrain(folder, experiment, experiment.bind({}), trial=None, say=said.append, mains=mains)

    notices = logging.Handler()
    monkeypatch.setattr(notices, "emit", lambda record: said.append(record.getMessage()))
    logging.getLogger("search.driver.inbox").addHandler(notices)
    yield folder, said, train
    logging.getLogger("search.driver.inbox").removeHandler(notices)


def test_a_stuck_process_is_replaced_a_few_times(hung) -> None:
    from search.errors import StudyError

    folder, said, train = hung
    first, second = "search.deadline.shortest_minutes", "search.deadline.first_epoch_minutes"
    with pytest.raises(StudyError) as caught:
        train(1, 1, max_restarts=1)
    text = str(caught.value)
    assert text.startswith(
        f"the final training in {folder.retrain}, after epoch 1 of 3: no report within 6 s ({second})"
    )
    assert "2 times without an epoch between them, which is more than search.max_restarts (1)" in text
    assert f"raise that limit by --set {second}=...; then run the same command again; every finished epoch" in text
    assert final_reports(folder)[0] == EPOCHS[:1]

    assert train(1, 1, 2, 3, max_restarts=1) == SCORES
    assert final_reports(folder)[0] == EPOCHS
    assert [line for line in said if not line.startswith("epoch")] == [
        "attempt 0 goes on from None",
        f"no report within 2 s ({first}): killed as stuck: resuming from the last checkpoint",
        "attempt 1 goes on from attempt-0/epoch-0001.npz",
        "attempt 2 goes on from attempt-0/epoch-0001.npz",
        f"no report within 6 s ({second}): killed as stuck: resuming from the last checkpoint",
        "attempt 3 goes on from attempt-0/epoch-0002.npz",
    ]


def test_a_stuck_process_is_not_replaced_after_ctrl_c(hung) -> None:
    folder, said, train = hung
    with pytest.raises(KeyboardInterrupt):
        train(1, 3, max_restarts=3, interrupted=os.getpid())
    assert final_reports(folder)[0] == EPOCHS[:1]
    assert not [line for line in said if line.startswith("attempt 1")]


def numbers(folder: StudyFolder) -> list[tuple[int, float, float, float]]:
    return [_numbers(report) for report in final_reports(folder)[0]]


def _numbers(report: EpochReport) -> tuple[int, float, float, float]:
    return (report.epoch, report.train_loss, report.val_log_loss, report.val_accuracy)


def result(folder: StudyFolder) -> tuple[object, ...]:
    scores = read_scores(folder)
    return (scores.best_epoch, scores.plain_log_loss, scores.tta_log_loss, scores.tta_views)


def output(cwd: Path) -> str:
    return (cwd / "output.txt").read_text(encoding="utf-8")
