"""Batches in parts: how they are split, and that the training is the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport, PhaseSeconds, StoreUse
from carcls.input.epoch_plan import ArrayPlan, batch_slice
from carcls.input.prefetch import EpochBatches
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune
from carcls.training.learner import Learner
from carcls.training.steps.micro_batches import MicroBatches, accumulation, memory_notes, parts

BATCH = 5
"""18 photos make four batches of 4, 5, 4 and 5, so batch sizes differ."""


def recipe(**changes) -> TrainConfig:
    values = {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": "none",
        "image_size": 32,
        "batch_size": BATCH,
        "head": {"batch_norm": False, "units": 8, "dropout": 0.0, "l2": 0.01},
        "augment": {"policy": "none"},
        "optimizer": {"kind": "sgd", "momentum": 0.9, "clip_norm": 0.5, "weight_decay": 0.01},
        "stages": [
            {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.05},
            {"name": "top", "unfreeze": 0.1, "epochs": 2, "learning_rate": 0.01},
        ],
    }
    return TrainConfig.model_validate(values | changes)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 64))
def test_every_photo_of_an_epoch_is_in_one_part_of_its_own_batch(photos, batch_size, micro_batch):
    cut = parts(photos, batch_size=batch_size, micro_batch=micro_batch)
    seen = []
    for number in dict.fromkeys(part.batch for part in cut):
        own = [part for part in cut if part.batch == number]
        places = batch_slice(number, photos=photos, batch_size=batch_size)
        sizes = [part.rows.stop - part.rows.start for part in own]
        assert len(own) == -(-sum(sizes) // micro_batch), "no more parts than needed"
        assert max(sizes) - min(sizes) <= 1, "a part of one photo has no variance"
        assert [part.share for part in own] == [size / sum(sizes) for size in sizes]
        assert [part.is_first for part in own] == [True, *[False] * (len(own) - 1)]
        assert [part.is_last for part in own] == [*[False] * (len(own) - 1), True]
        seen += [places.start + row for part in own for row in range(part.rows.start, part.rows.stop)]
    assert seen == list(range(photos))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 300), st.integers(2, 64), st.integers(1, 64), st.booleans(), st.integers(0, 1))
def test_no_part_is_a_single_photo_if_batch_norm_trains(photos, batch_size, micro_batch, in_head, stage):
    config = recipe(batch_size=batch_size, head={"batch_norm": in_head})
    cut = accumulation(micro_batch, config, stage, photos=photos)
    if cut is None:
        return
    sizes = [part.rows.stop - part.rows.start for part in cut.parts]
    assert max(sizes) <= cut.micro_batch
    if in_head or stage == 1:  # the backbone's random weights train there
        assert min(sizes) >= 2
    else:
        assert cut.micro_batch == micro_batch


@pytest.mark.parametrize("micro_batch", [None, BATCH, BATCH + 1, [2, None], [2, BATCH]])
def test_whole_batches_are_not_split(micro_batch):
    assert accumulation(micro_batch, recipe(), 1, photos=18) is None


def test_each_stage_may_have_its_own():
    config = recipe(weights="weights.h5")
    assert accumulation([None, 2], config, 0, photos=9) is None
    cut = accumulation([None, 2], config, 1, photos=9)
    assert cut is not None
    assert cut.micro_batch == 2
    assert [part.batch for part in cut.parts] == [0, 0, 1, 1, 1]
    assert cut.by_step({0: 7.0, 1: 9.0}) == {0: 7.0, 1: 7.0, 2: 9.0, 3: 9.0, 4: 9.0}


@pytest.mark.parametrize(
    ("micro_batch", "said"),
    [(0, "at least 1, found 0"), ([2, -1], "found -1"), ([2], "1 values, expected one for each of the 2")],
)
def test_an_invalid_micro_batch_is_refused(micro_batch, said):
    with pytest.raises(ValueError, match=said):
        accumulation(micro_batch, recipe(), 1, photos=18)


def test_parts_hold_the_batches_rows_in_order():
    x, y = np.arange(9, dtype=np.float32)[:, None], np.eye(9, dtype=np.float32)
    cut = accumulation(2, recipe(), 0, photos=9)
    shown = MicroBatches(EpochBatches(ArrayPlan(x, y, BATCH)), cut)
    assert [len(shown[number][0]) for number in range(len(shown))] == [2, 2, 1, 2, 2]
    np.testing.assert_array_equal(np.concatenate([shown[number][0] for number in range(len(shown))]), x)
    np.testing.assert_array_equal(np.concatenate([shown[number][1] for number in range(len(shown))]), y)


def test_notes_say_what_is_equal_only_in_expectation():
    cut = accumulation(2, recipe(), 0, photos=18)
    assert memory_notes(recipe(), 0, None, has_random_layers=True) == ()
    assert memory_notes(recipe(), 0, cut, has_random_layers=False) == (
        "to save memory, batches of 5 were split into parts of at most 2",
    )
    (note,) = memory_notes(recipe(head={"batch_norm": True}), 1, cut, has_random_layers=True)
    assert note.endswith(
        "; BatchNorm in the head and BatchNorm in the backbone and dropout: equal to whole batches in expectation only"
    )


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


def trained(config, data, folder, **options) -> list[EpochReport]:
    reports: list[EpochReport] = []
    fine_tune(config, data, reports.append, folder=folder, **options)
    return reports


def numbers(report: EpochReport) -> EpochReport:
    """A report without values that depend on time, the attempt, the store, or the split into parts."""
    bare = replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0), store=StoreUse())
    return replace(bare, checkpoint="", best_weights="", notes=(), micro_batch=None)


def assert_same_training(reports, expected, folder, expected_folder, *, rtol=1e-4, atol=1e-5) -> None:
    assert len(reports) == len(expected)
    for one, other in zip(reports, expected, strict=True):
        assert one.learning_rate == other.learning_rate
        assert one.train_loss == pytest.approx(other.train_loss, rel=rtol)
        assert one.train_accuracy == pytest.approx(other.train_accuracy)
        assert one.val_log_loss == pytest.approx(other.val_log_loss, rel=rtol)
        arrays, expected_arrays = (
            load_state(f / r.checkpoint)[0] for f, r in ((folder, one), (expected_folder, other))
        )
        assert arrays.keys() == expected_arrays.keys(), "a checkpoint does not depend on how batches were split"
        for key, array in expected_arrays.items():
            np.testing.assert_allclose(arrays[key], array, rtol=rtol, atol=atol, err_msg=key)


@pytest.fixture(scope="module")
def whole(data, weights, tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("whole"), recipe(weights=str(weights))
    return config, trained(config, data, folder), folder


@pytest.mark.parametrize("micro_batch", [2, [1, 3]])
def test_two_stages_in_parts_are_the_training_in_whole_batches(data, whole, tmp_path, micro_batch):
    config, expected, expected_folder = whole
    reports = trained(config, data, tmp_path, micro_batch=micro_batch)
    assert_same_training(reports, expected, tmp_path, expected_folder)
    by_stage = [2, 2] if micro_batch == 2 else micro_batch
    assert [report.micro_batch for report in reports] == [by_stage[report.stage] for report in reports]
    assert [len(report.notes) for report in reports] == [1, 0, 1, 0], "noted once per stage"
    assert not any("expectation" in note for report in reports for note in report.notes), "nothing here draws or norms"
    assert [report.micro_batch for report in expected] == [None] * 4


def test_an_attempt_may_continue_with_another_micro_batch(data, whole, tmp_path):
    config, expected, expected_folder = whole
    first = trained(config, data, tmp_path, micro_batch=3, stop_after_stage=0)
    second = trained(config, data, tmp_path, micro_batch=1, attempt=1, resume=first[0].checkpoint, stop_after_stage=0)
    assert [report.epoch for report in second] == [2]
    assert_same_training([first[0], *second], expected[:2], tmp_path, expected_folder)


def test_a_micro_batch_as_large_as_the_batch_changes_not_one_bit(data, whole, tmp_path):
    config, expected, expected_folder = whole
    reports = trained(config, data, tmp_path, micro_batch=BATCH, stop_after_stage=0)
    assert [numbers(report) for report in reports] == [numbers(report) for report in expected[:2]]
    for report, other in zip(reports, expected[:2], strict=True):
        arrays, expected_arrays = (
            load_state(tmp_path / report.checkpoint)[0],
            load_state(expected_folder / other.checkpoint)[0],
        )
        for key, array in expected_arrays.items():
            np.testing.assert_array_equal(arrays[key], array, err_msg=key)


HEADS = {
    "adam": {"optimizer": {"kind": "adam"}, "class_balance": "weights"},
    "adamw": {"optimizer": {"kind": "adamw", "weight_decay": 0.1, "clip_norm": 1.0}, "label_smoothing": 0.1},
    "rmsprop": {"optimizer": {"kind": "rmsprop", "momentum": 0.5}},
}


@pytest.mark.parametrize(
    "schedule", [{"kind": "cosine", "warmup_epochs": 0.6}, {"kind": "plateau", "patience_epochs": 1}]
)
@pytest.mark.parametrize("kind", HEADS)
def test_every_optimizer_and_schedule_counts_whole_batches(data, weights, tmp_path, kind, schedule):
    stage = {"name": "head", "unfreeze": 0.0, "epochs": 3, "learning_rate": 0.01, "schedule": schedule}
    config = recipe(weights=str(weights), stages=[stage], **HEADS[kind])
    expected = trained(config, data, tmp_path / "whole")
    reports = trained(config, data, tmp_path / "parts", micro_batch=2)
    # Adam divides moments by each other, so rounding errors of a gradient near zero have a full effect.
    assert_same_training(reports, expected, tmp_path / "parts", tmp_path / "whole", rtol=1e-3, atol=1e-4)


def test_half_precision_scales_the_loss_of_parts_too():
    config = recipe(precision="float16")
    cut = accumulation(2, config, 0, photos=18)
    arrays = []
    for own in (None, cut):
        learner = Learner(config, class_counts=np.array([6, 6, 6]), weights=None)
        learner.enter_stage(0, steps_per_epoch=4, cut=own)
        arrays.append(learner.optimizer_arrays())
    assert {key: array.shape for key, array in arrays[1].items()} == {key: a.shape for key, a in arrays[0].items()}
    assert sum(array.shape == () and array == 2.0**15 for array in arrays[1].values()) == 1
