"""What `carsearch run --hours` leaves for predicting the photos of the submission."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.cli.whole_run import _begun
from search.cli.whole_run_record import count_final, stored_run
from search.driver.create import create_study
from search.experiment.experiment import load
from search.final import final_slots
from search.policy.records import TrialState
from search.policy.time_plan import ENSEMBLE, FINAL, SCORING
from search.study.efficiency import Efficiency
from search.study.final_scores import read_scores
from search.study.run_hours import WholeRun
from search.study.study import Study
from search.worker import machine_memory
from tests.helpers.search.tiny import CLASSES, EXPERIMENT, TEST_PER_CLASS, TRAIN_PER_CLASS, write_tiny
from tests.helpers.search.trial_builders import climb, trial
from tests.helpers.search.untrained_study import BEGUN, add_final, untrained_study

RECORDS = [trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))]
VALIDATE_S = RECORDS[0].reports[-1].seconds.validate
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
)


def scoring_s(run: WholeRun, *, searched_s: float = 0.0) -> float:
    return run.plan(RECORDS, searched_s=searched_s).seconds(SCORING)


def test_until_a_final_model_is_there_a_trial_tells_how_fast_one_predicts() -> None:
    photo_s = VALIDATE_S / 20
    assert photo_s > 0.0
    few = replace(RUN, to_predict=50)
    assert scoring_s(few) == pytest.approx(30.0 + 1.25 * 50 * photo_s * 4 * 3), "four folds, three views"
    assert scoring_s(replace(few, has_other=True)) == pytest.approx(30.0 + 1.25 * 50 * photo_s * 8 * 3)
    assert scoring_s(replace(few, is_refitted=True)) == pytest.approx(30.0 + 1.25 * 50 * photo_s * 3), "one on all"
    assert scoring_s(replace(few, core_share=0.5)) == pytest.approx(30.0 + 1.25 * 50 * photo_s * 2 * 3), "all cores"
    assert few.plan([], searched_s=0.0).seconds(SCORING) == 180.0, "no trial is whole: a share of the hours"
    assert scoring_s(replace(few, to_predict=None)) == 180.0, "as in older versions"
    assert scoring_s(replace(few, to_predict=0)) == 30.0


def test_final_models_tell_how_fast_they_predict_and_leave_room_for_one_more() -> None:
    own = replace(RUN, stage=FINAL, has_other=True).after_final(600.0, "retrain", predicted_s=0.2)
    assert scoring_s(own) == pytest.approx(30.0 + 1.1 * 500 * 0.4), "another one is taken to be as fast"
    assert scoring_s(replace(own, has_other=False)) == pytest.approx(30.0 + 1.1 * 500 * 0.2)
    both = own.after_final(600.0, "retrain-0001", predicted_s=0.3)
    assert scoring_s(replace(both, stage=ENSEMBLE)) == pytest.approx(30.0 + 1.1 * 500 * 0.5)
    unknown = own.after_final(600.0, "retrain-0001")
    assert unknown.predicted_s == (0.2,)


def test_an_average_that_cannot_predict_all_photos_in_time_is_not_trained() -> None:
    own = replace(RUN, stage=FINAL, has_other=True).after_final(600.0, "retrain", predicted_s=0.2)

    def folds(run: WholeRun) -> int:
        return run.folds_beside(RECORDS, 0, own=0, searched_s=1200.0, pace=1.0, left=1.0)

    assert folds(own) == 5
    many = replace(own, to_predict=3800)
    assert many.plan(RECORDS, searched_s=1200.0).seconds(ENSEMBLE) == pytest.approx(1800.0 - 30.0 - 1.1 * 3800 * 0.4)
    assert folds(many) == 0, "1,702 of 1,800 s are for scoring, and the rest for the ensemble"
    too_many = replace(own, to_predict=10_000)
    plan = too_many.plan(RECORDS, searched_s=1200.0)
    assert (plan.seconds(SCORING), plan.seconds(ENSEMBLE)) == (1800.0, 0.0)


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.5), (2, 1.0)])
def test_a_run_knows_its_photos_to_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, share: float
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for module in (final_slots, machine_memory):
        monkeypatch.setattr(module, "gpu_count", lambda: gpus)
    changes = [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}", "tta.views=[plain,flip]"]
    experiment = load(write_tiny(tmp_path, EXPERIMENT), changes)
    folder = create_study(experiment)
    whole = _begun(folder, experiment, 8.0, None, started=time.monotonic())
    assert (whole.at_once, whole.core_share) == (2, share)
    assert (whole.to_predict, whole.views) == (CLASSES * TEST_PER_CLASS, 2)
    assert whole.validation_photos == CLASSES * TRAIN_PER_CLASS // 4
    (tmp_path / "data" / "sample-submission.csv").write_text("nothing\n", encoding="utf-8")
    unknown = _begun(folder, experiment, 8.0, None, started=time.monotonic())
    assert unknown.to_predict is None, "`submit` says why"


def test_what_a_final_training_took_and_how_fast_it_predicts_are_stored(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    with Study.open(folder.root) as study:
        replace(BEGUN, counted=()).keep(study)
    add_final(folder, experiment)
    efficiency = Efficiency(
        parameters=1,
        model_bytes=1,
        peak_memory_bytes=None,
        batch_size=1,
        plain_s_per_photo=0.1,
        views_s_per_photo=0.3,
        stages=(),
    )
    scores = replace(read_scores(folder.scores), efficiency=efficiency)
    folder.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    count_final(folder, folder, 60.0)
    whole = stored_run(folder)
    assert (whole.counted, whole.outside_s, whole.predicted_s) == (("retrain",), 60.0, (0.3,))
