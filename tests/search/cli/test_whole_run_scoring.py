"""What `carsearch run --hours` leaves for predicting the photos of the submission."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.cli import whole_run
from search.cli.whole_run import _begun, _submit
from search.cli.whole_run_photos import with_predictions
from search.driver.create import create_study
from search.experiment.experiment import load
from search.final import final_slots
from search.policy.records import TrialState
from search.policy.time_plan import ENSEMBLE, FINAL, SCORING
from search.study.begun_final import paces_of
from search.study.efficiency import Efficiency
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from search.study.run_hours import Pace, WholeRun
from search.worker import machine_memory
from tests.helpers.search.tiny import CLASSES, EXPERIMENT, TEST_PER_CLASS, TRAIN_PER_CLASS, write_tiny
from tests.helpers.search.trial_builders import climb, trial
from tests.helpers.search.untrained_study import add_final, untrained_study

RECORDS = [trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))]
VALIDATE_S = RECORDS[0].reports[-1].seconds.validate
EFFICIENCY = Efficiency(
    parameters=1,
    model_bytes=1,
    peak_memory_bytes=None,
    batch_size=1,
    plain_s_per_photo=0.1,
    views_s_per_photo=0.3,
    stages=(),
)
RUN = WholeRun(
    hours=1.0,
    outside_s=0.0,
    folds=4,
    is_refitted=False,
    final_ratio=1.0,
    at_once=1,
    to_predict=500,
    validation_photos=20,
    views=3,
    core_share=1.0,
)


OWN = replace(RUN, stage=FINAL, has_other=True).after_final(600.0, "retrain")
"""Once four folds of the winner are trained, and another backbone may follow."""


def scoring_s(run: WholeRun, *paces: Pace) -> float:
    return run.plan(RECORDS, searched_s=0.0, paces=paces).seconds(SCORING)


def test_while_it_searches_a_trial_tells_how_fast_final_models_predict() -> None:
    model_s = 2_000 * 3 * VALIDATE_S / 20
    assert 1.25 * 4 * model_s > 180.0, "a twentieth of the hours"
    many = replace(RUN, to_predict=2_000)
    assert scoring_s(many) == pytest.approx(30.0 + 1.25 * 4 * model_s), "four folds, three views"
    assert scoring_s(replace(many, core_share=0.5)) == pytest.approx(30.0 + 1.25 * 2 * model_s), "all cores"
    assert scoring_s(replace(many, is_refitted=True)) == pytest.approx(30.0 + 1.25 * model_s), "one model"
    assert scoring_s(replace(many, to_predict=9_000_000)) == 0.3 * 3600.0, "an estimate takes no more of the hours"
    for unknown in (
        replace(many, to_predict=2),
        replace(many, core_share=None),  # trials on other machines
        replace(many, to_predict=None),  # of older versions
    ):
        assert scoring_s(unknown) == 180.0
    assert many.plan([], searched_s=0.0).seconds(SCORING) == 180.0, "no trial is whole"


def test_after_the_search_each_fold_needs_time_to_predict_too() -> None:
    alone = replace(RUN, folds=1, stage=FINAL, to_predict=0)
    final_s = alone.estimated_s(RECORDS[0])
    searched_s = 3600.0 - 180.0 - 1.25 * 3.5 * final_s  # in place of the ensemble, three and a half
    assert alone.plan(RECORDS, searched_s=searched_s).folds == 3
    photos = (180.0 - 30.0 + 1.25 * final_s) * 20 / (3 * VALIDATE_S * 1.25 * 3)  # three models take a fold's time more
    slow = replace(alone, to_predict=round(photos))
    plan = slow.plan(RECORDS, searched_s=searched_s)
    assert (plan.folds, plan.seconds(SCORING)) == (0, 180.0), "fewer do not have the ensemble's time"


def test_final_models_tell_how_fast_they_predict() -> None:
    own, other = Pace(0.2, 4), Pace(0.3, 3)
    assert scoring_s(OWN, own) == 180.0, "140 s"
    many = replace(OWN, to_predict=5_000)
    assert scoring_s(many, own) == pytest.approx(30.0 + 1.1 * 5_000 * 0.2)
    both = replace(many, stage=ENSEMBLE)
    assert scoring_s(both, own, other) == pytest.approx(30.0 + 1.1 * 5_000 * 0.5)
    assert scoring_s(replace(both, to_predict=None), own, other) == 180.0


def test_folds_beside_leave_time_to_predict_with_them_too() -> None:
    def folds(photos: int) -> int:
        run = replace(OWN, to_predict=photos)
        paces = (Pace(0.2, 4),)
        return run.folds_beside(RECORDS, 0, own=0, searched_s=1200.0, pace=1.0, left=1.0, paces=paces)

    final_s = OWN.estimated_s(RECORDS[0])
    assert folds(500) == 5
    for photos, fit in ((4_000, 3), (4_300, 2)):
        room = 1800.0 - 108.0 - 30.0 - 1.1 * photos * 0.2
        assert int(room / (1.1 * (final_s + photos * 0.05))) == fit
    assert (folds(4_000), folds(4_300)) == (3, 0), "an average has three folds at least"


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.5), (2, 1.0)])
def test_a_run_knows_its_photos_to_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, share: float
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for module in (final_slots, machine_memory):
        monkeypatch.setattr(module, "gpu_count", lambda: gpus)
    changes = [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}", "tta.views=[flip,zoom]"]
    experiment = load(write_tiny(tmp_path, EXPERIMENT), changes)
    folder = create_study(experiment)
    whole = _begun(folder, experiment, 8.0, None, started=time.monotonic())
    assert (whole.at_once, whole.core_share) == (2, share)
    assert (whole.to_predict, whole.views) == (CLASSES * TEST_PER_CLASS, 3), "plain too"
    assert whole.validation_photos == CLASSES * TRAIN_PER_CLASS // 4
    assert with_predictions(whole, experiment, is_here=False).core_share is None


def test_photos_that_are_not_on_this_machine_yet_keep_their_number(tmp_path: Path) -> None:
    changes = [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}"]
    experiment = load(write_tiny(tmp_path, EXPERIMENT), changes)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert with_predictions(replace(RUN, to_predict=77), experiment, is_here=True).to_predict == 77
    assert with_predictions(replace(RUN, to_predict=None), experiment, is_here=True).to_predict is None


def test_paces_are_those_of_finals_whose_scores_tell_them(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    there = folder.beside(1)
    for final, trial_number, photo_s in ((folder, 0, 0.3), (there, 1, 0.5)):
        add_final(final, experiment, trial_number)
        scores = replace(read_scores(final), folds=2, efficiency=replace(EFFICIENCY, views_s_per_photo=photo_s))
        final.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    assert paces_of(folder, (folder.final, there.final)) == (Pace(0.3, 2), Pace(0.5, 2))
    there.scores.write_text("{}", encoding="utf-8")
    assert paces_of(folder, (folder.final, there.final, "retrain-0007")) == (Pace(0.3, 2),)


def test_photos_of_a_url_are_copied_before_the_submission_looks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a new machine that goes on with the last step."""
    asked: list[Path | None] = []
    monkeypatch.setattr(whole_run, "run_submit", lambda *_, model: asked.append(model))
    changes = [f"data.root=file://{tmp_path / 'data'}", f"store.root={tmp_path / 'store'}"]
    experiment = load(write_tiny(tmp_path), changes)
    assert not experiment.data.root.exists()
    _submit(StudyFolder(tmp_path / "results" / "tiny"), experiment, None)
    assert asked == [None]
