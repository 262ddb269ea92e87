import json
import tempfile
import zipfile
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import CheckpointError, ConfigError
from carcls.inference.export import CARD, export_model, load_model
from carcls.inference.tta import VIEWS, average, predict_view
from carcls.input.pixels import decode
from carcls.models.classifier import Classifier, build_classifier

SIZE = 32
NAMES = ("Priora", "Niva", "Kalina")
CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=4,
    precision="float32",
    stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
)


def _colour_model():
    """Classifies by the strongest channel: class i has the most of channel i."""
    pixels = keras.Input((SIZE, SIZE, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 25)(pixels))
    return keras.Model(pixels, keras.layers.Softmax()(means))


@pytest.fixture(scope="module")
def colours():
    model = _colour_model()
    return Classifier(model, model, "MobileNet")


def _export(path, classifier, **changed):
    arguments = {"class_names": NAMES, "config": CONFIG, "size_px": SIZE, "tta_views": ("plain", "flip")}
    export_model(path, classifier, **{**arguments, **changed})
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory, colours):
    return _export(tmp_path_factory.mktemp("export") / "model.keras", colours, scores={"val_accuracy": 0.93})


def _photo(folder, name, rgb):
    image = np.empty((48, 64, 3), np.uint8)
    image[:] = rgb[::-1]
    cv2.imwrite(str(folder / name), image)
    return folder / name


def _repacked(source, target, change):
    """A copy of an archive with changed members {name: bytes}."""
    with zipfile.ZipFile(source) as archive:
        members = change({name: archive.read(name) for name in archive.namelist()})
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def _with_card(source, target, **changed):
    def change(members):
        return {**members, CARD: json.dumps({**json.loads(members[CARD]), **changed}).encode()}

    return _repacked(source, target, change)


def test_the_card_round_trips(exported):
    card = load_model(exported).card
    assert (card.class_names, card.size_px, card.tta_views) == (NAMES, SIZE, ("plain", "flip"))
    assert TrainConfig.model_validate(card.config) == CONFIG
    assert card.scores == {"val_accuracy": 0.93}
    assert list(exported.parent.iterdir()) == [exported]


def test_keras_alone_opens_the_file_in_safe_mode(exported, colours, rng):
    photos = rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    alone = keras.saving.load_model(exported, safe_mode=True)
    np.testing.assert_array_equal(alone.predict_on_batch(photos), colours.model.predict_on_batch(photos))


def test_files_get_labels_and_broken_ones_an_error(exported, tmp_path):
    red = _photo(tmp_path, "red.png", (250, 0, 0))
    green = _photo(tmp_path, "green.jpg", (0, 250, 0))
    blue = _photo(tmp_path, "blue.png", (0, 0, 250))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    paths = [red, tmp_path / "broken.jpg", blue, tmp_path / "missing.jpg", green]
    predictions = load_model(exported).predict_files(paths, batch_size=2)
    assert [prediction.path for prediction in predictions] == paths
    assert [prediction.label for prediction in predictions] == ["Priora", None, "Kalina", None, "Niva"]
    assert predictions[0].probability == pytest.approx(1 / (1 + 2 * np.exp(-10)), rel=1e-4)
    assert predictions[0].error is None
    assert predictions[1].probability is None
    assert "broken.jpg" in predictions[1].error
    assert "missing.jpg" in predictions[3].error


def test_a_folder_of_only_broken_files_does_not_crash(exported, tmp_path):
    model = load_model(exported)
    assert model.predict_files([]) == []
    assert [p.label for p in model.predict_files([tmp_path / "a.jpg", tmp_path / "b.jpg"])] == [None, None]


def test_a_real_classifier_predicts_the_same_before_and_after(tmp_path, rng):
    classifier = build_classifier(CONFIG, size_px=SIZE, class_count=3, weights=None)
    photos = rng.integers(0, 256, (5, 60, 80, 3), dtype=np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, photo in zip(paths, photos, strict=True):
        cv2.imwrite(str(path), photo)
    views = ("plain", "flip", "zoom", "zoom_out", "crop_bottom_right_flip")
    model = load_model(_export(tmp_path / "model.keras", classifier, tta_views=views))
    predictions = model.predict_files(paths, batch_size=2)

    pixels = np.stack([decode(path, SIZE) for path in paths])
    by_view = {view: predict_view(classifier.model, pixels, view, batch_size=5) for view in views}
    expected = average(by_view, views)
    assert [p.label for p in predictions] == [NAMES[best] for best in expected.argmax(axis=1)]
    np.testing.assert_allclose([p.probability for p in predictions], expected.max(axis=1), rtol=1e-5)


def test_uint8_and_float_pixels_are_the_same_to_every_view(colours, rng):
    photos = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    for view, transform in VIEWS.items():
        as_float = colours.model.predict_on_batch(transform(photos).astype(np.float32))
        np.testing.assert_allclose(predict_view(colours.model, photos, view, batch_size=2), as_float, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"class_names": ("a", "b")}, CheckpointError, "model and card differ"),
        ({"size_px": 64}, CheckpointError, r"the card has shapes \(\(None, 64, 64, 3\)"),
        ({"tta_views": ("plain", "flop")}, ConfigError, "unknown view 'flop'; did you mean 'flip'"),
    ],
)
def test_a_card_that_does_not_match_is_not_written(tmp_path, colours, changed, error, message):
    with pytest.raises(error, match=message):
        _export(tmp_path / "model.keras", colours, **changed)
    assert list(tmp_path.iterdir()) == []


def test_the_name_must_be_kerass(tmp_path, colours):
    with pytest.raises(CheckpointError, match=r"ends in \.keras"):
        _export(tmp_path / "model.h5", colours)


def test_an_export_that_fails_leaves_the_earlier_file(tmp_path, colours, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(b"earlier")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            _export(path, colours)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_torn_or_foreign_files_are_told(tmp_path, exported):
    whole = exported.read_bytes()
    with pytest.raises(CheckpointError, match="no such model"):
        load_model(tmp_path / "nowhere.keras")
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "torn.keras").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged, or not a \.keras file"):
            load_model(tmp_path / "torn.keras")


def test_a_flipped_bit_is_found(tmp_path, exported):
    content = bytearray(exported.read_bytes())
    content[content.index(b'"class_name"') + 3] ^= 0x40
    (tmp_path / "flipped.keras").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config.json is damaged"):
        load_model(tmp_path / "flipped.keras")


def test_a_keras_model_without_a_card_is_reported(tmp_path, colours):
    colours.model.save(tmp_path / "plain.keras")
    with pytest.raises(CheckpointError, match=r"a Keras model without carsearch\.json"):
        load_model(tmp_path / "plain.keras")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "carsearch.json cannot be used"),
        ({"class_names": []}, "carsearch.json cannot be used"),
        ({"tta_views": ["rot90"]}, "unknown view 'rot90'"),
        ({"size_px": 64}, "model and card differ"),
        ({"scores": {"a" * 2**20: 1.0}}, "expected at most 1,048,576"),
    ],
)
def test_an_invalid_card_is_reported(tmp_path, exported, changed, message):
    with pytest.raises(CheckpointError, match=message):
        load_model(_with_card(exported, tmp_path / "card.keras", **changed))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, exported):
    path = tmp_path / "bomb.keras"
    path.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(2**22))
    with pytest.raises(CheckpointError, match="declares more bytes than it has"):
        load_model(path)


def test_foreign_code_is_not_run(tmp_path, colours):
    pixels = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(pixels, keras.layers.Lambda(lambda x: x[:, 0, 0])(pixels))
    path = _export(tmp_path / "lambda.keras", Classifier(model, model, "MobileNet"))
    with pytest.raises(CheckpointError, match="not a model that Keras can load"):
        load_model(path)


@pytest.mark.parametrize(
    "config", [b"{}", b"[1]", b"\xff", b'{"class_name": "Functional", "config": {}, "module": "os"}']
)
def test_a_hostile_configuration_is_refused(tmp_path, exported, config):
    path = _repacked(exported, tmp_path / "hostile.keras", lambda members: {**members, "config.json": config})
    with pytest.raises(CheckpointError, match="not a model that Keras can load"):
        load_model(path)


@pytest.fixture(scope="module")
def trained():
    return build_classifier(CONFIG, size_px=SIZE, class_count=3, weights=None).model


@pytest.fixture(scope="module")
def exported_training(tmp_path_factory, trained):
    return _export(tmp_path_factory.mktemp("export") / "model.keras", Classifier(trained, trained, "MobileNet"))


def _assert_same_weights(found, expected):
    for variable, wanted in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(wanted), err_msg=wanted.path)


def test_weights_are_not_read_by_seeking_within_the_archive(exported_training, trained, monkeypatch):
    def seek(member, *arguments):
        raise AssertionError("a member is read from its start at each seek backwards: minutes for deep models")

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", seek)
    _assert_same_weights(load_model(exported_training).model, trained)


def test_without_space_for_a_copy_a_model_is_loaded_from_the_archive(
    exported_training, trained, monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    loaded = load_model(exported_training)
    _assert_same_weights(loaded.model, trained)
    assert f"loading {exported_training} takes long: its weights cannot be unpacked" in caplog.text


def test_paths_may_be_relative(exported, tmp_path, monkeypatch):
    _photo(tmp_path, "red.png", (250, 0, 0))
    monkeypatch.chdir(tmp_path)
    assert load_model(exported).predict_files([Path("red.png")])[0].label == "Priora"
