"""`carsearch trial` between runs, and beside a real driver that trains."""

from pathlib import Path

import pytest

from search.policy.records import STOPPED, TrialRecord, TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.dispatch_desk import ACCURACIES
from tests.helpers.search.processes import run_cli, start_cli, wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import write_tiny

LONG = ("--set", "train.stages.head.epochs=60", "--set", "search.trials=2", "--set", "search.max_concurrent=1")


def test_between_runs_it_is_recorded_at_once(open_desk, tmp_path: Path) -> None:
    desk = open_desk()
    for _ in range(4):
        segment = desk.take()
        desk.work(segment, accuracy=ACCURACIES[segment.number])
    (tmp_path / "tiny.yaml").rename(desk.folder.experiment)
    study = str(desk.folder.root)
    desk.study.close()
    done = run_cli("trial", "stop", study, "1", cwd=tmp_path)
    assert done.stdout == f"trial 0001 is stopped\nnext: carsearch resume {study}\n", done.stderr
    done = run_cli("trial", "add", study, "--like", "2", "--set", "head.dropout=0.25", cwd=tmp_path)
    assert done.stdout.startswith("trial 0003 added: head.dropout=0.25 "), done.stdout + done.stderr
    refused = run_cli("trial", "add", study, "--set", "head.dropout=2", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "train.head.dropout: 2 is outside uniform [0, 0.5]" in refused.stderr
    records = Study.open(desk.folder.root, read_only=True).records()
    assert [record.state for record in records] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.PAUSED, TrialState.WAITING,
    ]  # fmt: skip
    assert records[1].cause == STOPPED


def so_far(folder: StudyFolder) -> tuple[TrialRecord, ...]:
    return read_records(folder) if folder.log.is_file() and folder.experiment.is_file() else ()


@pytest.mark.release  # half a minute on two idle cores
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_trial_of_a_real_search_is_stopped_and_one_is_added(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    folder = StudyFolder(tmp_path / "results" / "tiny")
    driver = start_cli("run", "tiny.yaml", *LONG, cwd=tmp_path)
    try:
        wait_until(
            lambda: driver.poll() is not None or any(record.fidelity >= 2 for record in so_far(folder)[1:]),
            "the second trial's second epoch",
        )
        assert driver.poll() is None, (tmp_path / "output.txt").read_text(encoding="utf-8")
        added = run_cli("trial", "add", str(folder.root), "--set", "head.dropout=0.125", cwd=tmp_path)
        assert added.stdout.startswith("asked: the running search adds it to the trials"), added.stdout + added.stderr
        wait_until(lambda: len(so_far(folder)) == 3, "the added trial")
        asked = run_cli("trial", "stop", str(folder.root), "1", cwd=tmp_path)
        assert asked.stdout.startswith("asked: the running search ends it after its running epoch"), asked.stderr
        wait_until(lambda: so_far(folder)[2].attempts == 1, "the start of the added trial")
        stopped, own = so_far(folder)[1:]
        assert (stopped.state, stopped.cause) == (TrialState.PRUNED, STOPPED)
        assert 2 <= stopped.fidelity < 60
        assert own.params["train.head.dropout"] == 0.125
        assert run_cli("trial", "stop", str(folder.root), "2", cwd=tmp_path).returncode == 0
        assert driver.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text(encoding="utf-8")
    finally:
        driver.kill()
    assert [record.state for record in read_records(folder)] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED,
    ]  # fmt: skip
    assert "trial 0001 pruned after" in (tmp_path / "output.txt").read_text(encoding="utf-8")
