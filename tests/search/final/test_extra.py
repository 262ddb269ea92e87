"""The final training with extra photos: the first fold with and without them, then what the comparison says."""

import csv
import os
from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from carcls.splits.extra import with_extra
from carcls.splits.k_folds import EVERY_PHOTO
from search.driver.create import create_recipe_folder
from search.errors import StudyError
from search.experiment.experiment import load
from search.final.refit import refit_config
from search.study.final_members import fold_count, gain_of, members, trains_on_extra
from search.study.final_scores import read_scores, score_lines
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_extra, read_study_split
from search.study.study import Study
from tests.helpers.search.judged_final import retrain_judged, segments_by_number
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES, FIXED, write_tiny

WITH_EXTRA = FIXED.replace("data: {root: data,", "data: {root: data, extra: more,")
EXTRA_PER_CLASS = 8
EXTRA = CLASSES * EXTRA_PER_CLASS


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, WITH_EXTRA)
    write_more(tmp_path)
    return lambda *overrides: load(file, ["retrain.folds=3", *overrides])


def write_more(folder: Path) -> None:
    write_sample(folder / "more", classes=CLASSES, train_per_class=EXTRA_PER_CLASS, test_per_class=1, seed=7)


def trained_on(folder: StudyFolder) -> list[tuple[int | None, bool]]:
    """Fold of each training by its number, and whether it had the extra photos."""
    return [(segment["fold"], bool(segment["extra_root"])) for segment in segments_by_number(folder)]


def test_photos_that_help_are_trained_on_in_every_fold_and_by_the_refit(loaded) -> None:
    experiment = loaded("retrain.photos=all")
    folder = create_recipe_folder(experiment)
    job, said = retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert trained_on(folder) == [(0, False), (0, True), (1, True), (2, True), (EVERY_PHOTO, True)]
    assert job["numbers"] == [1, 2, 3]
    assert (job["extra"], job["helps"], job["refit"]) == (EXTRA, True, 4)
    assert any(f"{EXTRA} extra photos are used: with them the first training saves +" in line for line in said)
    with Study.open(folder.retrain, read_only=True) as study:
        assert fold_count(study) == 3
        assert [record.number for record in members(study)] == [1, 2, 3]


def test_the_other_folds_have_the_same_threads_in_a_resumed_call(loaded, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    experiment = loaded("search.resources.cpus_per_trial=1")
    folder = create_recipe_folder(experiment)
    for stop in (1, 3):
        with pytest.raises(StudyError, match="stopped by the test"):
            retrain_judged(folder, experiment, sureness=(0.4, 0.8), stop=stop)
    retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert [one["threads"] for one in segments_by_number(folder)] == [6, 6, 6, 6], "two at once in either step"


def test_photos_that_do_not_help_are_left_out_of_all_that_follows(loaded) -> None:
    experiment = loaded("retrain.photos=all")
    folder = create_recipe_folder(experiment)
    job, said = retrain_judged(folder, experiment, sureness=(0.6, 0.6))
    assert trained_on(folder) == [(0, False), (0, True), (1, False), (2, False), (EVERY_PHOTO, False)]
    assert job["numbers"] == [0, 2, 3]
    assert job["helps"] is False
    assert any(f"{EXTRA} extra photos are left out" in line for line in said)


def test_without_folds_the_better_of_two_trainings_is_scored(loaded) -> None:
    experiment = loaded("retrain.folds=1")
    folder = create_recipe_folder(experiment)
    job, _ = retrain_judged(folder, experiment, sureness=(0.6, 0.4))
    assert trained_on(folder) == [(None, False), (None, True)]
    assert job["numbers"] == [0], "nine validation photos are too few to be sure, and it is worse"


def test_a_refit_without_folds_takes_photos_that_help_on_the_split(loaded) -> None:
    experiment = loaded("retrain.folds=1", "retrain.photos=all", "data.validation.fraction=0.5")
    folder = create_recipe_folder(experiment)
    job, said = retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert trained_on(folder) == [(None, False), (None, True), (EVERY_PHOTO, True)]
    assert (job["numbers"], job["extra"], job["helps"], job["refit"]) == ([1], EXTRA, True, 2)
    assert any("training on all photos, as the training on the study's split found: " in line for line in said)
    with Study.open(folder.retrain, read_only=True) as study:
        assert study.config(2) == refit_config(study.config(1), [study.record(1).reports])
    without = loaded("retrain.folds=1", "data.validation.fraction=0.5")
    job, _ = retrain_judged(folder, without, sureness=(0.4, 0.8))
    assert (job["numbers"], job["refit"]) == ([1], 0), "the one on all photos is not exported when it is not asked for"


def test_a_refit_without_folds_leaves_out_photos_that_do_not_help(loaded) -> None:
    experiment = loaded("retrain.folds=1", "retrain.photos=all", "data.validation.fraction=0.5")
    folder = create_recipe_folder(experiment)
    job, _ = retrain_judged(folder, experiment, sureness=(0.6, 0.6))
    assert trained_on(folder) == [(None, False), (None, True), (EVERY_PHOTO, False)]
    assert (job["numbers"], job["helps"], job["refit"]) == ([0], False, 2)


def test_an_interrupted_final_training_resumes_with_the_decision_that_was_made(loaded) -> None:
    experiment = loaded()
    folder = create_recipe_folder(experiment)
    with pytest.raises(StudyError):
        retrain_judged(folder, experiment, sureness=(0.4, 0.8), stop=3)
    with Study.open(folder.retrain, read_only=True) as study:
        first = gain_of(study, "extra")
    assert first is not None
    job, said = retrain_judged(folder, experiment, sureness=(0.8, 0.4))  # would decide otherwise
    assert job["numbers"] == [1, 2, 3]
    assert not any("extra photos are" in line for line in said)
    with Study.open(folder.retrain, read_only=True) as study:
        assert gain_of(study, "extra") == first
        assert trains_on_extra(study, 3)


def test_no_extra_photo_is_scored_in_any_fold(loaded) -> None:
    experiment = loaded()
    folder = create_recipe_folder(experiment)
    retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    own, root = folder.retrain_study, experiment.data.root
    assert experiment.data.extra is not None
    extra = read_study_extra(own, experiment.data.extra, "")
    for fold in (None, 0, 1, 2, EVERY_PHOTO):
        split = with_extra(read_study_split(own, root, "", fold=fold), extra)
        assert set(extra.photos.digests) <= set(split.train.digests)
        assert set(extra.photos.digests).isdisjoint(split.validation.digests)


def test_a_twin_of_a_photo_is_listed_in_the_quarantine(loaded, tmp_path: Path) -> None:
    original = next((tmp_path / "data" / "train").rglob("*.jpg"))
    twin = tmp_path / "more" / "train" / original.parent.name / "twin.jpg"
    twin.write_bytes(original.read_bytes())
    with (tmp_path / "more" / "train.csv").open("a", encoding="utf-8") as rows:
        rows.write(f"twin.jpg,{original.parent.name}\n")
    folder = create_recipe_folder(loaded())
    with folder.quarantine.open(encoding="utf-8", newline="") as file:
        rows_of = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert rows_of[str(twin)].startswith(f"looks like train/{original.parent.name}/{original.name}")


def test_a_study_without_extra_photos_takes_none_later(loaded, tmp_path: Path) -> None:
    experiment = loaded("data.extra=null")
    folder = create_recipe_folder(experiment)
    assert not folder.extra.exists()
    with pytest.raises(StudyError, match="was made without extra photos"):
        retrain_judged(folder, loaded(), sureness=(0.4, 0.8))
    job, _ = retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert (job["numbers"], job["extra"]) == ([0, 1, 2], None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_trainings_are_compared_told_and_scored(tmp_path: Path) -> None:
    write_tiny(tmp_path, WITH_EXTRA)
    write_more(tmp_path)
    done = run_cli("train", "tiny.yaml", "--set", "retrain.folds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = StudyFolder(tmp_path / "results" / "tiny")
    scores = read_scores(folder)
    assert scores.extra is not None
    assert (scores.extra.photos, scores.extra.gain.photos, scores.validation_photos) == (EXTRA, 18, 36)
    assert scores.extra.line() in score_lines(scores)
    assert scores.extra.line() in done.stdout
    records = Study.open(folder.retrain, read_only=True).records()
    assert [record.fold for record in records] == [0, 0, 1]
    without, with_them = records[0].reports, records[1].reports
    assert [report.epoch for report in with_them] == [1, 2, 3]
    assert all(one.train_loss != other.train_loss for one, other in zip(without, with_them, strict=True))
    kept = [record.number for record in members(Study.open(folder.retrain, read_only=True))]
    assert kept == [int(scores.extra.gain.helps), 2]
    page = folder.report.read_text(encoding="utf-8")
    assert f"{EXTRA} extra photos are" in page
