"""Holdout photos are scored by the current model and have no other effect on a training."""

from dataclasses import replace

import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.errors import DataError
from carcls.events import EpochReport, PhaseSeconds, StoreUse
from carcls.input.training_data import TrainingData
from carcls.models.classifier import build_classifier
from carcls.scoring import metrics
from carcls.store import Store
from carcls.training.checkpoint import load_state, model_variables
from carcls.training.fine_tuning import fine_tune
from carcls.training.initial_weights import InitialWeights, read_omitted

HEAD = {
    "name": "head",
    "unfreeze": 0.0,
    "epochs": 3,
    "learning_rate": 0.01,
    "schedule": {"kind": "plateau", "patience_epochs": 1},
    "early_stopping": {"patience_epochs": 1},
}
TOP = {"name": "top", "unfreeze": 0.2, "epochs": 2, "learning_rate": 0.003, "image_scale": 1.5}
HELD_OUT = 5
"""More than half a batch but less than a whole one, so that the batch is padded."""


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module")
def recipe(weights) -> TrainConfig:
    base = {"backbone": "MobileNet", "alpha": 0.25, "weights": str(weights), "image_size": 32, "batch_size": 8}
    augment = {"policy": "light", "views": 2}
    return TrainConfig.model_validate(base | {"augment": augment, "stages": (HEAD, TOP), "head": {"dropout": 0.3}})


@pytest.fixture(scope="module")
def both(data, tmp_path_factory) -> tuple[TrainingData, TrainingData]:
    """Splits with equal training and validation parts, with and without a holdout."""
    train = data.split.train
    split = replace(data.split, train=train.select(range(len(train) - HELD_OUT)))
    holdout = train.select(range(len(train) - HELD_OUT, len(train)))
    with_holdout = replace(data, split=replace(split, holdout=holdout), store=Store(tmp_path_factory.mktemp("store")))
    return with_holdout, replace(with_holdout, split=split)


@pytest.fixture(scope="module")
def runs(recipe, both, tmp_path_factory):
    """(folder, reports) of both trainings."""
    found = []
    for data in both:
        folder, reports = tmp_path_factory.mktemp("run"), []
        fine_tune(recipe, data, reports.append, folder=folder)
        found.append((folder, reports))
    return found


def numbers(report: EpochReport) -> EpochReport:
    """A report without clock, store and holdout."""
    bare = replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0), store=StoreUse())
    return replace(bare, holdout_log_loss=None, holdout_accuracy=None)


def test_a_training_is_bit_equal_with_a_holdout_and_without(runs):
    (folder, with_holdout), (other_folder, alone) = runs
    assert [numbers(report) for report in with_holdout] == alone_numbers(alone)
    assert with_holdout[-1].stage_name == "top"
    for one, other in zip(with_holdout, alone, strict=True):
        (arrays, meta), (expected, expected_meta) = (
            load_state(folder / one.checkpoint),
            load_state(other_folder / other.checkpoint),
        )
        assert arrays.keys() == expected.keys()
        assert meta["position"] == expected_meta["position"]
        for key, array in expected.items():
            np.testing.assert_array_equal(arrays[key], array, err_msg=key)


def alone_numbers(reports: list[EpochReport]) -> list[EpochReport]:
    """Reports of a training without a holdout, which must have no holdout scores."""
    assert all(
        (report.holdout_log_loss, report.holdout_accuracy, report.seconds.holdout) == (None, None, 0.0)
        for report in reports
    )
    return [numbers(report) for report in reports]


def test_holdout_scores_are_those_of_the_model_after_each_epoch(recipe, weights, both, runs):
    (data, _), ((folder, reports), _) = both, runs
    for report in reports:
        arrays, meta = load_state(folder / report.checkpoint)
        classifier = build_classifier(recipe, size_px=report.image_size, class_count=3, weights=weights)
        of_model = {key: array for key, array in arrays.items() if not key.startswith("optimizer/")}
        InitialWeights(classifier).restore(model_variables(classifier.model), of_model, read_omitted(meta)[1])
        pixels = np.asarray(data.pixels("holdout", report.image_size)[:])
        probabilities = np.asarray(classifier.model.predict_on_batch(pixels))
        labels = data.split.holdout.labels
        assert report.holdout_accuracy == metrics.accuracy(probabilities, labels)
        # Frozen stages use float16 features.
        assert report.holdout_log_loss == pytest.approx(float(metrics.log_loss(probabilities, labels)), rel=5e-3)
        assert report.seconds.holdout > 0
    assert len({report.holdout_log_loss for report in reports}) == len(reports)


def test_holdout_photos_are_in_no_other_table(both):
    split = both[0].split
    assert not set(split.holdout.digests) & (set(split.train.digests) | set(split.validation.digests))
    assert both[0].table("holdout") is split.holdout


def test_a_missing_part_is_named(recipe, both, tmp_path):
    with_holdout, alone = both
    with pytest.raises(DataError, match="this split has no holdout"):
        alone.pixels("holdout", 32)
    empty = replace(with_holdout, split=replace(with_holdout.split, holdout=with_holdout.split.holdout.select([])))
    with pytest.raises(DataError, match="the holdout part of this split has no photos"):
        fine_tune(recipe, empty, print, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
