"""Final trainings of two backbones: one beside the other, and `carsearch ensemble` of both."""

import json
from pathlib import Path

import numpy as np
import pytest

from carcls.inference.export import load_model
from carcls.inference.tta import predict_view
from carcls.splits.split import Split
from carcls.splits.split_files import read_split
from carcls.training.fine_tuning import load_best
from search.ensemble.build import build_ensemble
from search.ensemble.selectable import final_candidates
from search.study.bucket import places
from search.study.bucket.places import store_changes
from search.study.ensemble_scores import EnsembleScores
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES, TRAIN_PER_CLASS
from tests.helpers.search.trained_study import trained_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PHOTOS = CLASSES * TRAIN_PER_CLASS


def cli(study: StudyFolder, *arguments: str) -> tuple[int, str]:
    done = run_cli(*arguments, cwd=study.root.parents[1], within_s=600)
    return done.returncode, done.stdout + done.stderr


def write_answers(folder: StudyFolder, wrong: range) -> None:
    """Replaces what the folds said: right and sure, except for these photos in the order of their names."""
    with np.load(folder.out_of_fold) as stored:
        arrays = dict(stored)
    labels, place = arrays["labels"], np.argsort(np.argsort(arrays["ids"]))
    said = np.full((len(labels), CLASSES), 0.05, np.float32)
    said[np.arange(len(labels)), labels] = 0.9
    rows = np.flatnonzero(np.isin(place, list(wrong)))
    said[rows] = 0.3
    said[rows, (labels[rows] + 1) % CLASSES] = 0.4
    np.savez(folder.out_of_fold, **{key: said if key.startswith("view/") else value for key, value in arrays.items()})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """With the final training of trial 1."""
    study = trained_study(
        tmp_path_factory.mktemp("beside"), (1e-3, 1e-2, 1e-2), alphas=(0.25, 0.25, 0.5), test_per_class=4
    )
    assert "has no final training to train another one beside" in refusal(study)
    code, text = cli(study, "retrain", str(study.root), "--trial", "1", "--set", "retrain.folds=2")
    assert code == 0, text
    assert f"carsearch retrain {study.root} --beside" in study.report.read_text(encoding="utf-8"), "what to do next"
    return study


@pytest.fixture(scope="module")
def beside(study: StudyFolder) -> StudyFolder:
    """With that of trial 2 beside it."""
    _, (alone,), _ = final_candidates(study, split_of(study))
    assert alone.name == "2 folds of the final training"
    code, text = cli(study, "ensemble", str(study.root))
    assert code == 2
    assert f"needs two on folds, and there is 1: 'carsearch retrain {study.root} --beside'" in text
    assert not study.ensemble.exists()
    scores = study.scores.read_bytes()
    code, text = cli(study, "retrain", str(study.root), "--beside", "--set", "retrain.folds=3")
    assert code == 0, text
    assert f"next: carsearch ensemble {study.root}" in text
    assert f"model: {study.beside(2).model}" in text
    assert study.scores.read_bytes() == scores, "the study's own is untouched"
    return study.beside(2)


def refusal(study: StudyFolder, *arguments: str) -> str:
    code, text = cli(study, "retrain", str(study.root), "--beside", *arguments)
    assert code == 2
    return text


def split_of(study: StudyFolder) -> Split:
    return read_split(study.split, open_experiment(study).data.root)


def test_the_winners_own_trial_is_not_trained_beside_it(study: StudyFolder) -> None:
    assert "trial 0001 is the one of the final training" in refusal(study, "--trial", "1")


def test_the_best_trial_of_another_backbone_is_trained_on_folds_of_its_own(
    study: StudyFolder, beside: StudyFolder
) -> None:
    found = read_scores(beside)
    assert (found.trial, found.folds, found.validation_photos) == (2, 3, PHOTOS)
    own = Study.open(beside.retrain, read_only=True)
    assert {own.config(record.number).alpha for record in own.records()} == {0.5}
    assert "no other backbone has a trial beyond its first stage" in refusal(study)
    assert cli(study, "report", str(study.root))[0] == 0
    page = study.report.read_text(encoding="utf-8")
    assert "trial 0001" in page
    assert "--beside" not in page, "no other backbone is left"


def test_final_trainings_are_judged_by_all_photos_whatever_their_folds(study: StudyFolder, beside: StudyFolder) -> None:
    photos, (own, other), _ = final_candidates(study, split_of(study))
    assert (own.name, other.name) == ("2 folds of the final training", "3 folds of the final training of trial 0002")
    assert len(photos.ids) == len(set(photos.ids)) == PHOTOS
    for folder, candidate in ((study, own), (beside, other)):
        with np.load(folder.out_of_fold) as stored:
            row_of = {id_: row for row, id_ in enumerate(stored["ids"].tolist())}
            rows = [row_of[id_] for id_ in photos.ids]
            assert np.array_equal(stored["labels"][rows], photos.labels)
            assert np.array_equal(stored["view/plain"][rows], candidate.probabilities.astype(np.float32))


def test_their_average_is_exported_if_they_err_on_different_photos(study: StudyFolder, beside: StudyFolder) -> None:
    write_answers(study, range(0, PHOTOS, 4))
    write_answers(beside, range(0, PHOTOS, 4))
    kept = build_ensemble(study, open_experiment(study), most=5, max_ms=None, say=lambda _: None)
    assert (kept.is_kept, len(kept.members)) == (False, 1), "they say the same"
    write_answers(beside, range(2, PHOTOS, 4))
    code, text = cli(study, "ensemble", str(study.root))
    assert code == 0, text
    assert f"2 final trainings, judged by all {PHOTOS} photos of their folds" in text
    kept = EnsembleScores.read(study.ensemble_scores)
    assert (kept.is_kept, kept.photos, kept.candidates) == (True, PHOTOS, 2)
    assert kept.expected is not None
    assert kept.expected.line in text.splitlines()
    assert cli(study, "report", str(study.root))[0] == 0
    assert "accuracy of the ensemble, corrected for the choices made" in study.report.read_text(encoding="utf-8")
    assert f"ensemble: {kept.expected.line}" in cli(study, "status", str(study.root))[1].splitlines()
    _, found, _ = final_candidates(study, split_of(study))
    shares = {member.name: member.share for member in kept.members}
    assert shares == {one.name: pytest.approx(0.5) for one in found}

    exported = load_model(study.ensemble_model)
    assert exported.card.members == 5
    pixels = np.random.default_rng(0).integers(0, 256, (5, exported.card.size_px, exported.card.size_px, 3), np.uint8)
    expected = np.zeros((5, CLASSES))
    for candidate in found:
        for weights in candidate.weights:
            model = load_best(weights.config, weights.folder, weights.last, class_count=CLASSES)[0].model
            expected += 0.5 / len(candidate.weights) * np.asarray(model.predict_on_batch(pixels))
    assert np.allclose(predict_view(exported.model, pixels, "plain", batch_size=5), expected, atol=1e-5)


def test_each_step_may_run_on_another_machine_if_the_study_is_in_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path / 'far'}"
    monkeypatch.setattr(places, "_used", set())
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / "machine-0"))
    trained_study(tmp_path, (1e-3, 1e-2), alphas=(0.25, 0.5), results=url)
    store_changes()
    steps = (
        ("retrain", "--trial", "0", "--set", "retrain.folds=2"),
        ("retrain", "--beside", "--set", "retrain.folds=2"),
        ("ensemble",),
    )
    for number, (command, *arguments) in enumerate(steps, start=1):
        monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / f"machine-{number}"))
        done = run_cli(command, f"{url}/tiny", *arguments, cwd=tmp_path, within_s=600)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"2 final trainings, judged by all {PHOTOS} photos of their folds" in done.stdout
    far = tmp_path / "far" / "tiny"
    assert json.loads((far / "retrain-0001" / "scores.json").read_text(encoding="utf-8"))["trial"] == 1
    assert json.loads((far / "ensemble" / "scores.json").read_text(encoding="utf-8"))["candidates"] == 2
