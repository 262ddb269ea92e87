"""What a stage may set for itself: BatchNorm of the backbone and the size of its batches."""

import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.inference.tta import predict_view
from carcls.scoring import metrics
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune, load_best

STAGES = (
    {"name": "frozen", "unfreeze": 0.2, "epochs": 1, "learning_rate": 0.003},
    {"name": "train", "unfreeze": 0.2, "epochs": 2, "learning_rate": 0.001, "batch_norm": "train", "batch_size": 5},
    {"name": "again", "unfreeze": 0.2, "epochs": 1, "learning_rate": 1e-6, "batch_norm": "frozen"},
)


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module")
def config(weights) -> TrainConfig:
    base = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "batch_size": 8, "augment": {"policy": "none"}}
    return TrainConfig.model_validate(base | {"weights": str(weights), "stages": STAGES})


@pytest.fixture(scope="module")
def trained(config, data, tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("own"), []
    fine_tune(config, data, reports.append, folder=folder)
    return folder, reports


def _statistics(folder, report: EpochReport) -> dict[str, np.ndarray]:
    arrays = load_state(folder / report.checkpoint)[0]
    return {key: array for key, array in arrays.items() if "/moving_" in key and "head_" not in key}


def test_batch_norm_trains_in_the_stage_that_says_so_and_in_no_other(trained):
    folder, reports = trained
    first, *_, before_last, last = (_statistics(folder, report) for report in reports)
    assert first == {}, "frozen statistics are as in the weights file"
    assert len(before_last) == 12, "6 layers of the top 3 blocks, with a mean and a variance"
    for key, array in before_last.items():
        np.testing.assert_array_equal(last[key], array, err_msg=key)
    trained_more = [key for key, array in _statistics(folder, reports[1]).items() if (array != before_last[key]).any()]
    assert len(trained_more) == 12


def test_each_stage_steps_with_its_own_batches(trained):
    folder, reports = trained
    steps = [int(load_state(folder / report.checkpoint)[0]["optimizer/0000"]) for report in reports]
    assert steps == [3, 4, 8, 3], "18 photos in batches of 8 and of 5"


def test_loaded_weights_score_as_the_stages_did(config, trained, data):
    folder, reports = trained
    for report in reports[1:]:
        if report.best_weights.endswith(f"{report.epoch:04d}.npz"):
            classifier, size_px = load_best(config, folder, report, class_count=3)
            pixels = data.pixels("validation", size_px)
            predicted = predict_view(classifier.model, pixels, "plain", batch_size=6)
            assert metrics.log_loss(predicted, data.split.validation.labels) == pytest.approx(report.val_log_loss, 1e-4)
            return
    pytest.fail("no epoch of the last stages was kept: choose other rates for this test")


def test_a_step_keeps_the_stages_share_of_statistics_and_the_next_stage_the_backbones_own(config, data, tmp_path):
    step = STAGES[1] | {"epochs": 1, "batch_size": 18, "learning_rate": 1e-9}
    after: dict[float, list[np.ndarray]] = {}
    for momentum in (0.9, 0.5):
        stages = [STAGES[0], step | {"batch_norm_momentum": momentum}, step | {"name": "next"}]
        own = TrainConfig.model_validate(config.model_dump() | {"stages": stages})
        folder, reports = tmp_path / str(momentum), list[EpochReport]()
        fine_tune(own, data, reports.append, folder=folder)
        after[momentum] = [_top_mean(folder, report) for report in reports[1:]]
    less, half = (after[momentum][0] for momentum in (0.9, 0.5))
    difference = (less - half) / 0.4  # of the statistics before the step to those of the batch
    of_batch = half - 0.5 * difference
    assert np.abs(difference).max() > 0.01
    for before, then in after.values():
        np.testing.assert_allclose(then, 0.99 * before + 0.01 * of_batch, atol=1e-5)


def _top_mean(folder, report: EpochReport) -> np.ndarray:
    statistics = _statistics(folder, report)
    return statistics[max(key for key in statistics if key.endswith("/moving_mean"))]


def test_a_stage_that_trains_statistics_resumes_to_the_same_numbers(config, trained, data):
    folder, reports = trained
    again: list[EpochReport] = []
    fine_tune(config, data, again.append, folder=folder, attempt=1, resume=reports[1].checkpoint, stop_after_stage=1)
    assert [report.train_loss for report in again] == [reports[2].train_loss]
    one, other = (load_state(folder / report.checkpoint)[0] for report in (again[0], reports[2]))
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)
