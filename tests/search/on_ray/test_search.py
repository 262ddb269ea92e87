"""Real searches: Ray, worker processes, Keras and the study together."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.driver.create import create_study
from search.errors import StudyError
from search.experiment.experiment import load
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import EXPERIMENT, TRAIN_PER_CLASS, VALIDATION_PHOTOS, write_tiny

HEAD_EPOCHS = 2
OVERFLOW = 1e38
"""An L2 penalty beyond float32, so that the loss is NaN in the first step with any weights."""


def test_a_search_ends_with_every_trial_where_the_ladder_leaves_it(finished: Ran) -> None:
    records = finished.records
    assert len(records) == 4
    assert records[0].is_baseline
    assert records[0].state is TrialState.COMPLETE
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    epochs = {TrialState.COMPLETE: HEAD_EPOCHS + 1, TrialState.PRUNED: HEAD_EPOCHS}
    for record in records:
        assert record.fidelity == epochs[record.state]
        assert [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
        assert all(report.image_size == 32 for report in record.reports)
        correct = record.reports[-1].val_accuracy * VALIDATION_PHOTOS
        assert correct == pytest.approx(round(correct), abs=1e-6), "accuracy is a count of the validation photos"


def test_a_finished_study_holds_what_the_architecture_promises(finished: Ran) -> None:
    folder = finished.folder
    names = {path.name for path in folder.root.iterdir()} - {"retrain", "submission.csv", "ray.log"}
    assert names == {
        "driver.lock",
        "experiment.yaml",
        "leaderboard.csv",
        "leaderboard.json",
        "mistakes.csv",
        "quarantine.csv",
        "report.html",
        "split.csv",
        "study.log",
        "summary",
        "trials",
        "unlabelled.csv",
    }
    assert not list(finished.cwd.joinpath("results").glob(".*")), "no draft is left behind"
    for record in finished.records:
        last = record.reports[-1]
        assert (folder.trial(record.number) / last.checkpoint).is_file()
        assert (folder.trial(record.number) / last.best_weights).is_file()
        assert (folder.trial(record.number) / "attempt-0" / "output.log").is_file()
        assert list(folder.trial(record.number).glob("events.out.tfevents.*"))


def test_a_seeded_sequential_search_repeated_is_the_same_study(finished: Ran, tmp_path: Path) -> None:
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    done = run_cli("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = StudyFolder(tmp_path / "results" / "tiny")

    assert again.split.read_bytes() == finished.folder.split.read_bytes()
    assert timeless(read_records(again)) == timeless(finished.records)
    assert _states(again) == _states(finished.folder), "the same decisions in the same order"


def test_two_trials_at_once_keep_to_the_ladder_and_nan_is_infeasible(tmp_path: Path) -> None:
    text = EXPERIMENT.replace(
        "max_concurrent: 1", "max_concurrent: 2\n  sampler: random\n  baseline: {head: {l2: 0.0}}"
    )
    text = text.replace("trials: 4", "trials: 6").replace(
        "head: {dropout:", f"head: {{l2: {{choice: [0.0, {OVERFLOW}]}}, dropout:"
    )
    write_tiny(tmp_path, text)
    done = run_cli("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    folder = StudyFolder(tmp_path / "results" / "tiny")
    records = read_records(folder)
    assert len(records) == 6
    for record in records:
        diverges = record.params["train.head.l2"] == OVERFLOW
        assert record.infeasible is diverges
        assert (record.state is TrialState.FAIL) is diverges
        if diverges:
            assert record.reports == ()
            assert record.cause is not None
            assert "training loss is nan" in record.cause
    assert {record.infeasible for record in records} == {True, False}
    assert records[0].state is TrialState.COMPLETE

    ordinary = [record for record in records if not record.is_baseline and not record.is_run_to_end]
    promoted = [record for record in ordinary if record.attempts > 1]
    assert len(promoted) <= sum(record.rung is not None for record in records) // 3
    running: set[int] = set()
    most = 0
    for number, state in _states(folder):
        if state == "RUNNING":
            assert number not in running, "never the same trial twice at once"
            running.add(number)
        else:
            running.discard(number)
        most = max(most, len(running))
    assert most == 2


def test_a_lost_photo_stops_the_search_which_resumes_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / "store"))  # the photo's pixels must not be known already
    folder = create_study(load(write_tiny(tmp_path), ["search.trials=2"]))
    lost = sorted((tmp_path / "data" / "train" / "0").iterdir())[0]
    elsewhere = lost.rename(tmp_path / "elsewhere.jpg")

    done = run_cli("resume", str(folder.root), "--set", "search.checkpoints.full_disk_minutes=0.05", cwd=tmp_path)

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count(" waits: DataError") == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("carsearch: DataError")
    assert last.endswith(f", for 0.05 minutes: resume with 'carsearch resume {folder.root}'")
    (record,) = read_records(folder)
    assert (record.state, record.deaths, record.reports) == (TrialState.WAITING, (), ())
    assert record.cause is not None
    assert lost.name in record.cause
    log = (folder.trial(0) / "attempt-0" / "output.log").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in log
    assert lost.name in log

    elsewhere.rename(lost)
    done = run_cli("resume", str(folder.root), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {record.state for record in read_records(folder)} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_study_appears_whole_with_its_split_and_frozen_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path), ["search.trials=7"])
    folder = create_study(experiment)

    assert folder.root == tmp_path / "results" / "tiny"
    assert [path.name for path in folder.root.parent.iterdir()] == ["tiny"]
    frozen = open_experiment(folder)
    assert frozen.search.trials == 7
    assert frozen.data.root == tmp_path / "data"
    assert frozen.resolved_yaml() == experiment.resolved_yaml()
    folds = [line.split(",")[4] for line in folder.split.read_text(encoding="utf-8").splitlines()[1:]]
    assert folds.count("validation") == VALIDATION_PHOTOS
    assert folds.count("train") == 3 * TRAIN_PER_CLASS - VALIDATION_PHOTOS
    assert read_records(folder) == ()


def test_a_study_that_exists_is_kept_unless_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path))
    folder = create_study(experiment)
    mark = folder.root / "mark"
    mark.touch()
    with Study.open(folder.root) as study:
        study.add_trial(experiment.baseline, experiment.bind(experiment.baseline), is_baseline=True)

    with pytest.raises(StudyError, match=r"carsearch resume.*--replace"):
        create_study(experiment)
    assert mark.exists()
    create_study(experiment, replace=True)
    assert not mark.exists()
    assert [path.name for path in folder.root.parent.iterdir()] == ["tiny"]


def test_a_study_at_work_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path))
    folder = create_study(experiment)
    with Study.open(folder.root), pytest.raises(StudyError, match="is in use by process"):
        create_study(experiment, replace=True)
    assert folder.log.is_file()
    assert [path.name for path in folder.root.parent.iterdir()] == ["tiny"]


def test_photos_that_cannot_be_used_leave_the_old_study_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path))
    folder = create_study(experiment)
    split = folder.split.read_bytes()
    shutil.rmtree(tmp_path / "data" / "train")

    with pytest.raises(Exception, match="train"):
        create_study(experiment, replace=True)
    assert folder.split.read_bytes() == split
    assert [path.name for path in folder.root.parent.iterdir()] == ["tiny"]


def test_a_broken_photo_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path))
    broken = sorted((tmp_path / "data" / "train" / "1").iterdir())[0]
    broken.write_bytes(b"no photo")
    folder = create_study(experiment)
    assert broken.name in folder.quarantine.read_text(encoding="utf-8")
    ids = [line.partition(",")[0] for line in folder.split.read_text(encoding="utf-8").splitlines()[1:]]
    assert len(ids) == 3 * TRAIN_PER_CLASS - 1
    assert broken.name not in ids


def test_only_one_driver_at_a_time(finished: Ran) -> None:
    with Study.open(finished.folder.root):
        done = run_cli("resume", str(finished.folder.root), cwd=finished.cwd)
    assert done.returncode == 2
    assert "is in use by process" in done.stderr
    assert "Traceback" not in done.stderr


def _states(folder: StudyFolder) -> list[tuple[int, str]]:
    """(trial, state) in journal order."""
    return list(_read_states(folder))


def _read_states(folder: StudyFolder) -> Iterator[tuple[int, str]]:
    for line in folder.log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        status = entry.get("user_attr", {}).get("status")
        if status and "trial_id" in entry:
            yield entry["trial_id"], status["state"]
