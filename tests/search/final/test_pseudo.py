"""The second final training with pseudo-labels: who labels for whom, and what the comparison decides."""

import json
import os
from pathlib import Path

import pytest

from carcls.splits.extra import parse_extra
from carcls.splits.k_folds import EVERY_PHOTO
from search.driver.create import create_recipe_folder
from search.errors import StudyError
from search.experiment.experiment import load
from search.final.expected_accuracy import unseen_photos
from search.study.checked_files import check_files, unlabelled_digest
from search.study.final_members import fold_count, members
from search.study.final_scores import read_scores, score_lines
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study
from tests.helpers.search.judged_final import read_unlabelled, retrain_judged, segments_by_number
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES, FIXED, TEST_PER_CLASS, write_tiny

TEST = CLASSES * TEST_PER_CLASS
WITH_PSEUDO = FIXED.replace("data: {root: data,", "data: {root: data, pseudo: {agreement: 0.75, views: 4},")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, WITH_PSEUDO)
    return lambda *overrides: load(file, ["retrain.folds=3", *overrides])


def taught(folder: StudyFolder) -> list[tuple[int | None, list[int]]]:
    """Fold of each training by its number, and the trainings that labelled photos for it."""
    return [
        (one["fold"], [number for number, _ in one["pseudo"].get("teachers", ())]) for one in segments_by_number(folder)
    ]


def test_each_fold_learns_from_its_own_model_and_the_refit_from_all(loaded) -> None:
    experiment = loaded("retrain.photos=all")
    folder = create_recipe_folder(experiment)
    with pytest.raises(StudyError):
        retrain_judged(folder, experiment, sureness=(0.4, 0.8), stop=4)
    job, said = retrain_judged(folder, experiment, sureness=(0.8, 0.4))  # what was decided stays
    first, second = [(fold, []) for fold in range(3)], [(fold, [fold]) for fold in range(3)]
    assert taught(folder) == [*first, *second, (EVERY_PHOTO, [0, 1, 2])]
    assert job["numbers"] == [3, 4, 5]
    assert (job["pseudo"], job["second_helps"], job["extra"], job["refit"]) == (TEST, True, None, 6)
    assert not any("pseudo-labelled photos are" in line for line in said), "it was told before"
    segment = json.loads((folder.retrain / "segment-3.json").read_text(encoding="utf-8"))
    assert (segment["pseudo"]["agreement"], segment["pseudo"]["views"]) == (0.75, 4)
    with Study.open(folder.retrain, read_only=True) as study:
        assert fold_count(study) == 3
        assert [record.number for record in members(study)] == [3, 4, 5]


def test_a_training_that_is_added_later_has_all_cores_in_a_resumed_call_too(loaded, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    experiment = loaded("retrain.photos=all", "search.resources.cpus_per_trial=1")
    folder = create_recipe_folder(experiment)
    for stop in (3, 6):
        with pytest.raises(StudyError, match="stopped by the test"):
            retrain_judged(folder, experiment, sureness=(0.4, 0.8), stop=stop)
    retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert [one["threads"] for one in segments_by_number(folder)] == [1, 1, 1, 3, 1, 1, 3]


def test_without_folds_the_refit_learns_from_the_model_of_the_split(loaded) -> None:
    experiment = loaded("retrain.folds=1", "retrain.photos=all", "data.validation.fraction=0.5")
    folder = create_recipe_folder(experiment)
    job, said = retrain_judged(folder, experiment, sureness=(0.4, 0.8))
    assert taught(folder) == [(None, []), (None, [0]), (EVERY_PHOTO, [0])]
    assert (job["numbers"], job["pseudo"], job["second_helps"], job["refit"]) == ([1], TEST, True, 2)
    assert any("as the training on the study's split found: " in line for line in said)


def test_labels_that_do_not_help_end_with_the_first_fold(loaded) -> None:
    experiment = loaded("retrain.photos=all")
    folder = create_recipe_folder(experiment)
    job, said = retrain_judged(folder, experiment, sureness=(0.6, 0.6))
    assert taught(folder) == [(0, []), (1, []), (2, []), (0, [0]), (EVERY_PHOTO, [])]
    assert (job["numbers"], job["second_helps"]) == ([0, 1, 2], False)
    assert any(f"{TEST} pseudo-labelled photos are left out" in line for line in said)


def test_photos_that_may_have_pseudo_labels_do_not_count_as_unseen(loaded) -> None:
    experiment = loaded()
    folder = create_recipe_folder(experiment)
    to_predict = unseen_photos(folder, experiment, None, processes=1, has_pseudo=False)
    assert to_predict is not None
    assert len(to_predict) == TEST
    assert unseen_photos(folder, experiment, None, processes=1, has_pseudo=True) is None
    holdout = to_predict.select([0])
    assert unseen_photos(folder, experiment, holdout, processes=1, has_pseudo=True) is holdout


def test_copies_of_labelled_photos_do_not_count_as_unseen(loaded, tmp_path) -> None:
    labelled = next((tmp_path / "data" / "train" / "0").iterdir())
    (tmp_path / "data" / "sample-submission.csv").unlink()
    (tmp_path / "data" / "test_upload" / f"copy{labelled.suffix}").write_bytes(labelled.read_bytes())
    experiment = loaded()
    unseen = unseen_photos(create_recipe_folder(experiment), experiment, None, processes=1, has_pseudo=False)
    assert unseen is not None
    assert len(unseen) == TEST
    assert "copy" not in " ".join(unseen.ids)


@pytest.mark.parametrize("damage", ["two samples", "no list"])
def test_photos_to_predict_that_cannot_be_read_are_no_reason_to_fail(loaded, tmp_path, damage) -> None:
    experiment = loaded()
    folder = create_recipe_folder(experiment)
    if damage == "no list":
        folder.unlabelled.unlink()
    else:
        (tmp_path / "data" / "sampleSubmission.csv").write_text("Id,Category\nx.jpg,0\n", encoding="utf-8")
    assert unseen_photos(folder, experiment, None, processes=1, has_pseudo=False) is None


@pytest.mark.parametrize("folds", [1, 3])
def test_pseudo_labels_may_follow_a_final_training_that_ended_without_them(loaded, folds: int) -> None:
    asked = (f"retrain.folds={folds}", "data.validation.fraction=0.5")
    folder = create_recipe_folder(loaded(*asked, "data.pseudo=null"))
    retrain_judged(folder, loaded(*asked, "data.pseudo=null"), sureness=(0.4, 0.8))
    folder.model.write_bytes(b"a model")
    own = folder.retrain_study
    assert not own.unlabelled.exists()
    own.unlabelled.write_bytes(b"a copy that was cut off")
    job, _ = retrain_judged(folder, loaded(*asked), sureness=(0.4, 0.8))
    assert own.unlabelled.read_bytes() == folder.unlabelled.read_bytes()
    assert (job["numbers"], job["pseudo"]) == (list(range(folds, 2 * folds)), TEST)
    with Study.open(folder.retrain, read_only=True) as study:
        check_files(study, own)
        digest = unlabelled_digest(study)
    assert {one["pseudo"]["digest"] for one in segments_by_number(folder)[folds:]} == {digest}
    own.unlabelled.write_bytes(b"damaged")
    with pytest.raises(StudyError, match=r"unlabelled\.csv, .*: damaged"):
        retrain_judged(folder, loaded(*asked, "tta.views=[plain]"), sureness=(0.4, 0.8))


def test_a_twin_of_a_labelled_photo_gets_no_label(loaded, tmp_path: Path) -> None:
    original = next((tmp_path / "data" / "train").rglob("*.jpg"))
    twin = next((tmp_path / "data" / "test_upload").iterdir())
    twin.write_bytes(original.read_bytes())
    folder = create_recipe_folder(loaded())
    table = read_unlabelled(folder).photos
    assert len(table) == TEST - 1
    assert f"test_upload/{twin.name}" not in table.paths


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.timeout(900)
def test_real_trainings_label_photos_and_are_compared(tmp_path: Path) -> None:
    write_tiny(tmp_path, WITH_PSEUDO, test_per_class=6)
    done = run_cli("train", "tiny.yaml", "--set", "retrain.folds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = StudyFolder(tmp_path / "results" / "tiny")
    own, data_root = folder.retrain_study, tmp_path / "data"
    scores = read_scores(folder)
    assert scores.pseudo is not None
    assert scores.pseudo.line("pseudo-labelled") in (*score_lines(scores), done.stdout)
    labelled = parse_extra(own.pseudo_labels(2).read_bytes(), own.pseudo_labels(2), data_root).photos
    assert scores.pseudo.photos == len(labelled) > 0
    assert set(labelled.digests) <= set(read_unlabelled(own).photos.digests)
    for fold in (0, 1):
        split = read_study_split(own, data_root, "", fold=fold)
        assert set(labelled.digests).isdisjoint(split.validation.digests)
    records = Study.open(folder.retrain, read_only=True).records()
    assert [record.fold for record in records] == ([0, 1, 0, 1] if scores.pseudo.gain.helps else [0, 1, 0])
    assert scores.validation_photos == 36
