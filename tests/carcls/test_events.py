"""Reports round-trip through JSON, and older reports without newer fields are read."""

import json
from dataclasses import replace

import pytest

from carcls.events import EpochReport, PhaseSeconds, StoreUse

REPORT = EpochReport(
    epoch=3,
    stage=1,
    stage_name="full",
    stage_epoch=2,
    stage_ended=True,
    train_loss=0.5,
    train_accuracy=0.75,
    val_log_loss=0.625,
    val_accuracy=0.875,
    val_macro_f1=0.8125,
    learning_rate=0.001,
    image_size=224,
    images_per_s=50.0,
    trainable_parameters=1000,
    seconds=PhaseSeconds(train=8.0, validate=2.0, build=1.0, trace=4.0, store=0.5, data_wait=0.25),
    checkpoint="attempt-0/epoch-0003.npz",
    best_weights="attempt-0/best-0003.npz",
    notes=("stopped early",),
    store=StoreUse(built=2, reused=3, built_s=1.5, saved_s=4.5),
)


def test_a_report_survives_json():
    assert EpochReport.from_json(json.loads(json.dumps(REPORT.to_json()))) == REPORT
    assert REPORT.seconds.total == 15.75


def test_an_older_report_without_store_use_is_read():
    old = {key: value for key, value in REPORT.to_json().items() if key not in ("store", "notes")}
    read = EpochReport.from_json(old)
    assert (read.store, read.notes, read.val_accuracy) == (StoreUse(), (), 0.875)


def test_an_older_report_without_holdout_has_no_holdout_score():
    old = {key: value for key, value in REPORT.to_json().items() if not key.startswith("holdout_")}
    old["seconds"] = {key: value for key, value in old["seconds"].items() if key != "holdout"}
    assert EpochReport.from_json(old) == REPORT
    assert (REPORT.holdout_log_loss, REPORT.holdout_accuracy, REPORT.seconds.holdout) == (None, None, 0.0)


def test_a_report_that_says_judge_is_read():
    scored = replace(REPORT, holdout_log_loss=0.1, holdout_accuracy=1.0, seconds=replace(REPORT.seconds, holdout=0.5))
    old = json.loads(json.dumps(scored.to_json()).replace("holdout", "judge"))
    assert old["judge_accuracy"] == 1.0
    assert old["seconds"]["judge"] == 0.5
    assert EpochReport.from_json(old) == scored


def test_an_older_report_without_micro_batch_had_whole_batches():
    old = {key: value for key, value in REPORT.to_json().items() if key != "micro_batch"}
    assert EpochReport.from_json(old) == REPORT
    assert REPORT.micro_batch is None
    cut = replace(REPORT, micro_batch=8)
    assert EpochReport.from_json(json.loads(json.dumps(cut.to_json()))) == cut


def test_holdout_counts_among_the_seconds_and_not_in_the_rank():
    scored = replace(REPORT, holdout_log_loss=0.1, holdout_accuracy=1.0, seconds=replace(REPORT.seconds, holdout=0.5))
    assert EpochReport.from_json(json.loads(json.dumps(scored.to_json()))) == scored
    assert scored.seconds.total == REPORT.seconds.total + 0.5
    assert scored.rank == REPORT.rank


def test_a_report_with_a_field_missing_or_unknown_is_refused():
    whole = REPORT.to_json()
    with pytest.raises(TypeError, match="val_accuracy"):
        EpochReport.from_json({key: value for key, value in whole.items() if key != "val_accuracy"})
    with pytest.raises(TypeError, match="stored"):
        EpochReport.from_json(whole | {"store": {"stored": 1}})


def test_uses_of_the_store_add_up():
    assert StoreUse(1, 2, 0.5, 0.25) + StoreUse(3, 4, 1.0, 8.0) == StoreUse(4, 6, 1.5, 8.25)
