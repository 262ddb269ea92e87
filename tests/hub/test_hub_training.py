"""A training of a small transformer on drawn photos: it learns, resumes alike, and exports what it validated."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport, PhaseSeconds, StoreUse
from carcls.inference.conversion import MAX_DIFFERENCE, convert
from carcls.inference.export import export_model, load_model
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune, load_best

pytestmark = [pytest.mark.slow, pytest.mark.release]

STAGES = (
    {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.01},
    {"name": "top", "unfreeze": 0.5, "epochs": 2, "learning_rate": 1e-3, "schedule": {"kind": "one_cycle"}},
)


@pytest.fixture(scope="module")
def recipe() -> TrainConfig:
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)
    values = {"backbone": "ViTTiny16", "weights": "none", "image_size": 32, "batch_size": 8, "precision": "float32"}
    return TrainConfig.model_validate(values | {"layer_decay": 0.8, "ema": 0.5, "stages": STAGES})


@pytest.fixture(scope="module")
def whole(recipe, data, tmp_path_factory) -> tuple:
    folder, reports = tmp_path_factory.mktemp("whole"), []
    fine_tune(recipe, data, reports.append, folder=folder)
    return folder, reports


def numbers(report: EpochReport) -> EpochReport:
    bare = replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0), store=StoreUse())
    return replace(bare, checkpoint="", best_weights="")


def test_the_upper_half_trains_and_the_rest_is_not_written(whole):
    folder, reports = whole
    assert [report.stage_name for report in reports] == ["head", "top", "top"]
    assert reports[1].trainable_parameters > 10 * reports[0].trainable_parameters
    written = load_state(folder / reports[-1].checkpoint)[0]
    encoder = {key for key in written if key.startswith("model/vit_encoder/")}
    blocks = {key.split("/")[2] for key in encoder}
    assert blocks == {"ln", *(f"transformer_block_{number}" for number in range(6, 13))}  # 7 of 13, and no embedding
    assert "model/vit_patching_and_embedding/class_token" not in written
    assert reports[-1].train_loss < reports[1].train_loss


def test_a_training_that_was_ended_within_a_stage_resumes_alike(recipe, data, whole, tmp_path):
    folder, reports = whole

    class EndedError(Exception):
        pass

    def end(report: EpochReport) -> None:
        if report.epoch == 2:
            raise EndedError

    again: list[EpochReport] = []
    with pytest.raises(EndedError):
        fine_tune(recipe, data, end, folder=tmp_path)
    fine_tune(recipe, data, again.append, folder=tmp_path, attempt=1, resume="attempt-0/epoch-0002.npz")
    assert [numbers(report) for report in again] == [numbers(report) for report in reports[2:]]
    one, other = (load_state(path)[0] for path in (folder / reports[-1].checkpoint, tmp_path / again[-1].checkpoint))
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)


def test_the_best_weights_export_and_convert(recipe, data, whole, tmp_path):
    folder, reports = whole
    classifier, size_px = load_best(recipe, folder, reports[-1], class_count=3)
    photos = data.pixels("validation", size_px)
    expected = classifier.model.predict_on_batch(photos)
    path = tmp_path / "model.keras"
    names = tuple(data.split.class_names)
    export_model(path, classifier, class_names=names, config=recipe, size_px=size_px, tta_views=("plain", "flip"))
    np.testing.assert_array_equal(load_model(path).model.predict_on_batch(photos), expected)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), photos[0])
    # LiteRT, whose packages come with TensorFlow; ONNX needs others.
    assert convert(path, tmp_path / "model.tflite", "litert", [photo]).max_difference <= MAX_DIFFERENCE
    pytest.importorskip("tf2onnx", reason="ONNX needs `pip install 'carsearch[onnx]'`")
    assert convert(path, tmp_path / "model.onnx", "onnx", [photo]).max_difference <= MAX_DIFFERENCE
