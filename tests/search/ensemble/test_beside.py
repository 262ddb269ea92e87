"""Final trainings of two backbones: one beside the other, and `carsearch ensemble` of both."""

from pathlib import Path

import numpy as np
import pytest

from carcls.inference.export import load_model
from carcls.inference.tta import predict_view
from carcls.splits.split_files import read_split
from carcls.training.fine_tuning import load_best
from search.ensemble.build import build_ensemble
from search.ensemble.ensemble_scores import EnsembleScores
from search.ensemble.selectable import final_candidates
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


def write_answers(folder: StudyFolder, wrong: slice) -> None:
    """Replaces what the folds said: right and sure, except for the photos in `wrong`."""
    with np.load(folder.out_of_fold) as stored:
        arrays = dict(stored)
    labels = arrays["labels"]
    said = np.full((len(labels), CLASSES), 0.05, np.float32)
    said[np.arange(len(labels)), labels] = 0.9
    rows = np.arange(len(labels))[wrong]
    said[rows] = 0.3
    said[rows, (labels[rows] + 1) % CLASSES] = 0.4
    np.savez(folder.out_of_fold, **{key: said if key.startswith("view/") else value for key, value in arrays.items()})


def test_a_training_beside_the_final_one_is_averaged_with_it(tmp_path: Path) -> None:
    study = trained_study(tmp_path, (1e-3, 1e-2, 1e-2), alphas=(0.25, 0.25, 0.5))
    root = str(study.root)
    code, text = cli(study, "retrain", root, "--beside")
    assert code == 2
    assert "has no final training to train another one beside" in text
    assert cli(study, "retrain", root, "--trial", "1", "--set", "retrain.folds=2")[0] == 0
    scores = study.scores.read_bytes()
    code, text = cli(study, "retrain", root, "--beside", "--trial", "1")
    assert code == 2
    assert "trial 0001 is the one of the final training" in text
    assert final_candidates(study, read_split(study.split, open_experiment(study).data.root)) is None

    code, text = cli(study, "retrain", root, "--beside", "--set", "retrain.folds=3")
    assert code == 0, text
    assert f"next: carsearch ensemble {root}" in text
    beside = study.beside(2)
    assert f"model: {beside.model}" in text
    found = read_scores(beside.scores)
    assert (found.trial, found.folds, found.validation_photos) == (2, 3, PHOTOS)
    assert {Study.open(beside.retrain, read_only=True).config(number).alpha for number in range(3)} == {0.5}
    assert study.scores.read_bytes() == scores, "the study's own is untouched"
    code, text = cli(study, "retrain", root, "--beside")
    assert code == 2
    assert "no other backbone has a trial that finished all its stages" in text

    split = read_split(study.split, open_experiment(study).data.root)
    photos, (own, other) = final_candidates(study, split)
    assert (own.name, other.name) == ("2 folds of the final training", "3 folds of the final training of trial 0002")
    assert len(photos.ids) == len(set(photos.ids)) == PHOTOS
    with np.load(beside.out_of_fold) as stored:
        row_of = {id_: row for row, id_ in enumerate(stored["ids"].tolist())}
        rows = [row_of[id_] for id_ in photos.ids]
        assert np.array_equal(stored["labels"][rows], photos.labels)
        assert np.array_equal(stored["view/plain"][rows], other.probabilities.astype(np.float32))

    half = PHOTOS // 2
    write_answers(study, slice(0, half, 2))
    write_answers(beside, slice(0, half, 2))
    kept = build_ensemble(study, open_experiment(study), most=5, max_ms=None, say=lambda _: None)
    assert not kept.is_kept or len(kept.members) == 2
    write_answers(study, slice(0, half, 2))
    write_answers(beside, slice(half, PHOTOS, 2))
    code, text = cli(study, "ensemble", root)
    assert code == 0, text
    assert f"2 final trainings, judged by all {PHOTOS} photos of their folds" in text
    kept = EnsembleScores.read(study.ensemble_scores)
    assert (kept.is_kept, kept.photos, kept.candidates) == (True, PHOTOS, 2)
    shares = {member.name: member.share for member in kept.members}
    assert shares == {own.name: pytest.approx(0.5), other.name: pytest.approx(0.5)}

    exported = load_model(study.ensemble_model)
    assert exported.card.members == 5
    pixels = np.random.default_rng(0).integers(0, 256, (5, exported.card.size_px, exported.card.size_px, 3), np.uint8)
    expected = np.zeros((5, CLASSES))
    for candidate in (own, other):
        for weights in candidate.weights:
            model = load_best(weights.config, weights.folder, weights.last, class_count=CLASSES)[0].model
            expected += 0.5 / len(candidate.weights) * np.asarray(model.predict_on_batch(pixels))
    assert np.allclose(predict_view(exported.model, pixels, "plain", batch_size=5), expected, atol=1e-5)

    assert cli(study, "report", root)[0] == 0
    assert "trial 0001" in study.report.read_text(encoding="utf-8")
    code, text = cli(study, "retrain", root, "--beside", "--trial", "2", "--set", "retrain.folds=3", "--replace")
    assert code == 0, text
    assert study.scores.read_bytes() == scores
