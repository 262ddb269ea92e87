"""`carsearch ensemble` with the folds of a final training among its candidates."""

from pathlib import Path

import numpy as np
import pytest

from carcls.inference.export import load_model
from carcls.inference.tta import predict_view
from carcls.scoring.evidence import Evidence
from carcls.splits.split_files import read_split
from carcls.training.fine_tuning import load_best
from search.ensemble.build import build_ensemble
from search.ensemble.selectable import Photos, candidates
from search.study.frozen import open_experiment
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES
from tests.helpers.search.trained_study import trained_study

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(900)]
FOLDS = 2


def sure_but_for(labels, wrong, sure=0.9):
    """(n, classes) of a model that is right and sure, except for the photos in `wrong`."""
    said = np.full((len(labels), CLASSES), (1.0 - sure) / (CLASSES - 1))
    said[np.arange(len(labels)), labels] = sure
    said[wrong] = 0.3
    said[wrong, (labels[wrong] + 1) % CLASSES] = 0.4
    return said


def test_folds_are_one_candidate_whose_models_share_its_weight(tmp_path: Path) -> None:
    study = trained_study(tmp_path)
    done = run_cli("retrain", str(study.root), "--set", f"retrain.folds={FOLDS}", cwd=tmp_path, within_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    photos = Photos.of(read_split(study.split, open_experiment(study).data.root))
    with np.load(study.out_of_fold) as stored:
        arrays = dict(stored)
    rows = [arrays["ids"].tolist().index(photo) for photo in photos.ids]
    (folds,) = [one for one in candidates(study, photos)[0] if one.is_folds]
    assert folds.name == "2 folds of the final training"
    assert len(folds.weights) == FOLDS
    assert np.array_equal(folds.probabilities, arrays["view/plain"][rows].astype(np.float64))

    # Each training is unsure of a quarter of the photos, the folds, which are surer, of another one: a mean is right.
    quarter = np.arange(len(photos.labels)) % 4
    for record in Study.open(study.root, read_only=True).records():
        if record.best is not None:
            said = sure_but_for(photos.labels, quarter == record.number % 3)
            Evidence(said.astype(np.float16)).write(study.probabilities(record.number, record.best.epoch))
    for key in [key for key in arrays if key.startswith("view/")]:
        arrays[key][rows] = sure_but_for(photos.labels, quarter == 3, sure=0.95)
    np.savez(study.out_of_fold, **arrays)

    scores = build_ensemble(study, open_experiment(study), most=2, max_ms=None, say=lambda _: None)
    assert scores.is_kept
    by_name = {member.name: member for member in scores.members}
    assert by_name[folds.name].models == FOLDS
    exported = load_model(study.ensemble_model)
    assert exported.card.members == FOLDS + sum(name != folds.name for name in by_name)
    pixels = np.random.default_rng(0).integers(0, 256, (5, exported.card.size_px, exported.card.size_px, 3), np.uint8)
    expected = np.zeros((5, CLASSES))
    for candidate in candidates(study, photos)[0]:
        for weights in candidate.weights if candidate.name in by_name else ():
            model = load_best(weights.config, weights.folder, weights.last, class_count=CLASSES)[0].model
            share = by_name[candidate.name].share / len(candidate.weights)
            expected += share * np.asarray(model.predict_on_batch(pixels))
    assert np.allclose(predict_view(exported.model, pixels, "plain", batch_size=5), expected, atol=1e-5)
