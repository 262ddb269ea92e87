"""A model in other formats answers as the original does, or is not written."""

import json

import cv2
import keras
import numpy as np
import pytest

from carcls.backend import portable
from carcls.backend.portable import run_portable
from carcls.config import StageConfig, TrainConfig
from carcls.errors import CheckpointError, ConfigError, DataError
from carcls.inference import conversion
from carcls.inference.conversion import convert, target_path
from carcls.inference.export import export_model
from carcls.input.pixels import decode
from carcls.models.classifier import build_classifier

SIZE = 32
CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=4,
    precision="float32",
    stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    classifier = build_classifier(CONFIG, size_px=SIZE, class_count=3, weights=None)
    path = tmp_path_factory.mktemp("conversion") / "model.keras"
    export_model(
        path,
        classifier,
        class_names=("a", "b", "ж"),
        config=CONFIG,
        size_px=SIZE,
        tta_views=("plain",),
        sharpness=1.5,
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.png" for number in range(3)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 48, 3), np.uint8))
    return paths


@pytest.mark.slow  # the converters take seconds
@pytest.mark.parametrize("form", ["savedmodel", "litert", "onnx"])
def test_a_converted_model_answers_the_same(model, photos, tmp_path, form):
    if form == "onnx":
        for name in ("tf2onnx", "onnx", "onnxruntime"):
            pytest.importorskip(name, reason=f"{name} is not installed: pip install 'carsearch[onnx]'")
    target = tmp_path / target_path(model, form).name
    done = convert(model, target, form, [*photos, tmp_path / "absent.jpg"])
    assert (done.path, done.photos) == (target, 3)
    assert done.max_difference < 1e-5
    pixels = np.stack([decode(path, SIZE) for path in photos]).astype(np.float32)
    expected = keras.saving.load_model(model).predict_on_batch(pixels)
    assert np.allclose(run_portable(target, form, pixels), expected, atol=1e-5)
    card = json.loads((tmp_path / f"{target.name}.json").read_text(encoding="utf-8"))
    assert card == {
        "class_names": ["a", "b", "ж"],
        "size_px": SIZE,
        "fit": "stretch",
        "pixels": "RGB, 0..255, float32",
        "sharpness": 1.5,
    }
    with pytest.raises(CheckpointError, match="exists already"):
        convert(model, target, form, photos)


def test_the_file_beside_a_model_of_rectangles_has_their_width(photos, tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"image_size": (32, 48)})
    size_px = config.stage_size(0)
    classifier = build_classifier(config, size_px=size_px, class_count=3, weights=None)
    model = tmp_path / "model.keras"
    export_model(model, classifier, class_names=("a", "b", "c"), config=config, size_px=size_px, tta_views=("plain",))
    # In place of a converter, which takes seconds.
    monkeypatch.setattr(conversion, "write_portable", lambda _, draft, form: draft.write_bytes(b""))
    monkeypatch.setattr(
        conversion, "run_portable", lambda draft, form, pixels: keras.saving.load_model(model).predict_on_batch(pixels)
    )
    convert(model, tmp_path / "model.tflite", "litert", photos)
    card = json.loads((tmp_path / "model.tflite.json").read_text(encoding="utf-8"))
    assert (card["size_px"], card["width_px"], card["fit"]) == (32, 48, "stretch")


@pytest.mark.slow
def test_the_constants_of_an_efficientnet_reach_onnx(photos, tmp_path):
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'carsearch[onnx]'")
    config = CONFIG.model_copy(update={"backbone": "EfficientNetB0", "alpha": 1.0})
    classifier = build_classifier(config, size_px=SIZE, class_count=3, weights=None)
    model = tmp_path / "model.keras"
    export_model(model, classifier, class_names=("a", "b", "c"), config=config, size_px=SIZE, tta_views=("plain",))
    assert convert(model, tmp_path / "model.onnx", "onnx", photos).max_difference < 1e-5


def test_a_model_that_answers_differently_is_not_written(model, photos, tmp_path, monkeypatch):
    # In place of a converter that is at fault.
    monkeypatch.setattr(conversion, "write_portable", lambda _, draft, form: draft.write_bytes(b""))
    monkeypatch.setattr(conversion, "run_portable", lambda *_: np.array([[0.0, 0.0, 1.0]] * 3))
    with pytest.raises(CheckpointError, match=r"differ by up to 0\.\d+ on 3 photos, more than 0\.001: nothing was"):
        convert(model, tmp_path / "model.tflite", "litert", photos)
    assert list(tmp_path.iterdir()) == []


def test_without_its_packages_onnx_is_refused_before_anything_is_written(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "_FOR_ONNX", ("tf2onnx_of_no_one",))
    with pytest.raises(ConfigError, match=r"needs tf2onnx_of_no_one: pip install 'carsearch\[onnx\]'"):
        convert(model, tmp_path / "model.onnx", "onnx", photos)
    assert list(tmp_path.iterdir()) == []


def test_photos_are_needed_to_compare(model, tmp_path):
    with pytest.raises(DataError, match="none of 1 photos"):
        convert(model, tmp_path / "m", "savedmodel", [tmp_path / "absent.jpg"])
