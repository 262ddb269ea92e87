"""`carsearch ensemble` after a final training on folds."""

from pathlib import Path

import numpy as np
import pytest

from carcls.splits.split_files import read_split
from search.ensemble.selectable import final_candidates
from search.study.frozen import open_experiment
from tests.helpers.search.processes import run_cli
from tests.helpers.search.trained_study import trained_study

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(900)]
FOLDS = 2


def test_folds_are_one_candidate_judged_by_photos_that_its_models_have_not_seen(tmp_path: Path) -> None:
    study = trained_study(tmp_path)
    split = read_split(study.split, open_experiment(study).data.root)
    assert final_candidates(study, split) is None, "before the final training the trials are selected from"
    done = run_cli("retrain", str(study.root), "--set", f"retrain.folds={FOLDS}", cwd=tmp_path, within_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    photos, (folds,), _ = final_candidates(study, split)
    with np.load(study.out_of_fold) as stored:
        arrays = dict(stored)
    rows = [arrays["ids"].tolist().index(photo) for photo in photos.ids]
    assert sorted(photos.ids) == sorted(arrays["ids"].tolist())
    assert folds.name == "2 folds of the final training"
    assert len(folds.weights) == FOLDS
    assert np.array_equal(folds.probabilities, arrays["view/plain"][rows].astype(np.float64))
    assert np.array_equal(photos.labels, arrays["labels"][rows])

    # The search's trials are not averaged with it: its average is no worse for what one of its models gets wrong.
    refused = run_cli("ensemble", str(study.root), cwd=tmp_path)
    assert refused.returncode == 2
    assert "an ensemble of final trainings needs two on folds, and there is 1" in refused.stderr
    assert not study.ensemble_model.exists()
    study.out_of_fold.unlink()
    _, none, (missing,) = final_candidates(study, split)
    assert none == ()
    assert missing.startswith("2 folds of the final training: ")
    again = run_cli("ensemble", str(study.root), cwd=tmp_path)
    assert again.returncode == 2
    assert f"and there is 0 ({missing})" in again.stderr
