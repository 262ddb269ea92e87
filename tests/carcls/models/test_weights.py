"""Weights files: fitting ones are loaded completely, others are refused without any change."""

from importlib import import_module
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from carcls.catalog import BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.errors import WeightsError
from carcls.models.backbones import build_backbone, imagenet_file
from carcls.models.weights import load_backbone_weights, resolve_weights
from tests.helpers.mutations import mutated, refusal

STAGES = (StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),)


def config(**changes) -> TrainConfig:
    values = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "batch_size": 4} | changes
    return TrainConfig(stages=STAGES, **values)


def small(name: str = "MobileNet", alpha: float = 0.25, size_px: int = 32) -> keras.Model:
    return build_backbone(name, alpha, size_px)


def write_npz(path: Path, backbone: keras.Model) -> None:
    arrays = {f"{number:04d}": value.astype(np.float16) for number, value in enumerate(backbone.get_weights())}
    np.savez(path, paths=np.array([variable.path for variable in backbone.weights]), meta="{}", **arrays)


def write(path: Path, backbone: keras.Model) -> None:
    if path.suffix == ".npz":
        write_npz(path, backbone)
    elif path.name.endswith(".weights.h5"):
        backbone.save_weights(path)
    else:
        backbone.save(path)


@pytest.mark.parametrize("file", ["w.npz", "w.weights.h5", "w.h5"])
def test_every_format_fills_the_whole_backbone_at_another_size(tmp_path, file):
    source, target = small(), small(size_px=64)
    write(tmp_path / file, source)
    load_backbone_weights(target, tmp_path / file)
    tolerance = 1e-3 if file == "w.npz" else 0.0
    for variable, expected in zip(target.weights, source.get_weights(), strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize("file", ["w.npz", "w.weights.h5", "w.h5"])
@pytest.mark.parametrize(("name", "alpha"), [("MobileNet", 0.5), ("MobileNetV2", 0.35)])
def test_another_backbone_or_width_is_refused_and_nothing_is_loaded(tmp_path, file, name, alpha):
    write(tmp_path / file, small(name, alpha))
    target = small()
    before = target.get_weights()
    with pytest.raises(WeightsError, match=rf"{file} does not fit the backbone: found .*, expected .*shape"):
        load_backbone_weights(target, tmp_path / file)
    for found, expected in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


SMALL = (("MobileNet", 0.25), ("MobileNetV2", 0.35), ("MobileNetV3Small", 0.75))


@pytest.fixture(scope="module")
def small_ones() -> dict[tuple[str, float], keras.Model]:
    return {(name, alpha): small(name, alpha) for name, alpha in SMALL}


@pytest.mark.parametrize("file", ["w.npz", "w.weights.h5", "w.h5"])
def test_every_pair_is_rejected_and_named_by_the_files_backbone(tmp_path, file, small_ones):
    for (name, alpha), source in small_ones.items():
        write(tmp_path / file, source)
        for key, target in small_ones.items():
            before = target.get_weights()
            if key == (name, alpha):
                load_backbone_weights(target, tmp_path / file)
                continue
            with pytest.raises(WeightsError, match=rf"its [0-9,]+ weights suggest {name} with alpha {alpha};"):
                load_backbone_weights(target, tmp_path / file)
            for found, expected in zip(target.get_weights(), before, strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("source", "target"), [("VGG16", "VGG19"), ("VGG19", "VGG16")])
def test_a_backbone_that_begins_alike_is_refused_and_nothing_is_loaded(tmp_path, source, target):
    """The first seven convolutions of both have equal names and shapes."""
    legacy_file(tmp_path / "w.h5", small(source, 1.0))
    backbone = small(target, 1.0)
    before = backbone.get_weights()
    with pytest.raises(WeightsError, match=rf"found block._conv.*, expected block._conv.* suggest {source};"):
        load_backbone_weights(backbone, tmp_path / "w.h5")
    for found, expected in zip(backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def legacy_file(path: Path, backbone: keras.Model) -> None:
    """Writes weights in the format of Keras 1 and 2, which keras.applications publishes."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, backbone)


def fill_distinct(backbone: keras.Model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for variable in backbone.weights:
        variable.assign(rng.random(variable.shape, np.float32))


@pytest.mark.parametrize(
    "name",
    [
        *("MobileNetV3Small", "ConvNeXtTiny"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ResNet50V2", "DenseNet121", "NASNetMobile", "EfficientNetV2B0")
        ),
        # The deepest takes CI longest.
        pytest.param("InceptionResNetV2", marks=[pytest.mark.slow, pytest.mark.release]),
    ],
)
def test_published_order_loads_into_every_variable_as_keras_loads_it(tmp_path, name):
    """ConvNeXt nests layers, NASNet has paired kernels, and BatchNorm has trainable and other variables."""
    backbone = small(name, 1.0, BACKBONES[name].min_size_px)
    fill_distinct(backbone, seed=1)
    expected = backbone.get_weights()
    legacy_file(tmp_path / "w.h5", backbone)
    fill_distinct(backbone, seed=2)
    load_backbone_weights(backbone, tmp_path / "w.h5")
    for variable, value in zip(backbone.weights, expected, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value, err_msg=variable.path)
    fill_distinct(backbone, seed=2)
    backbone.load_weights(tmp_path / "w.h5")
    for variable, value in zip(backbone.weights, expected, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value, err_msg=variable.path)


def test_a_file_that_ends_early_is_refused_and_nothing_is_loaded(tmp_path):
    backbone = small()
    whole = {f"{number:04d}": value for number, value in enumerate(backbone.get_weights())}
    paths = [variable.path for variable in backbone.weights]
    last = f"{len(paths) - 1:04d}"
    whole.pop(last)
    np.savez(tmp_path / "short.npz", paths=np.array(paths[:-1]), meta="{}", **whole)
    target = small()
    before = target.get_weights()
    with pytest.raises(WeightsError, match=r"found the end of the file, expected conv_pw_13_bn/moving_variance"):
        load_backbone_weights(target, tmp_path / "short.npz")
    np.testing.assert_array_equal(target.get_weights()[0], before[0])


def test_a_file_with_top_is_refused(tmp_path):
    backbone = small()
    top = keras.layers.Dense(3, name="predictions")(keras.layers.GlobalAveragePooling2D()(backbone.output))
    keras.Model(backbone.input, top).save(tmp_path / "top.h5")
    with pytest.raises(WeightsError, match=r"expected the end of the backbone; .*has no top"):
        load_backbone_weights(small(), tmp_path / "top.h5")


@pytest.mark.parametrize("file", ["torn.npz", "torn.h5", "torn.weights.h5"])
def test_damaged_and_foreign_files_are_refused(tmp_path, file):
    write(tmp_path / file, small())
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:1000])
    with pytest.raises(WeightsError, match=rf"{file} cannot be read"):
        load_backbone_weights(small(), tmp_path / file)


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", paths=np.array(["conv1/kernel"]), **{"0000": np.array([{}], dtype=object)})
    with pytest.raises(WeightsError, match="pickle"):
        load_backbone_weights(small(), tmp_path / "evil.npz")


def test_a_file_damaged_anywhere_is_refused_or_loads(tmp_path):
    path = tmp_path / "damaged.npz"
    write(path, small())
    whole, target = path.read_bytes(), small()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(mutated((whole,)))
    def load(content):
        path.write_bytes(content)
        reason = refusal(WeightsError, lambda: load_backbone_weights(target, path))
        assert reason is None or path.name in reason

    load()


def test_arrays_without_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "text.npz", paths=np.array(["conv1/kernel"]), **{"0000": np.array(["1.0"])})
    with pytest.raises(WeightsError, match="conv1/kernel holds <U3, not numbers"):
        load_backbone_weights(small(), tmp_path / "text.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_backbone_weights(small(), tmp_path / "bare.npz")


def test_names_spread_over_several_attributes_are_read(tmp_path):
    """Keras does so if the names of all layers exceed an HDF5 header."""
    source, target = small(), small()
    source.save(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        attributes = file["model_weights"].attrs
        names = list(attributes["layer_names"])
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = names[:40], names[40:]
    load_backbone_weights(target, tmp_path / "w.h5")
    np.testing.assert_array_equal(target.get_weights()[-3], source.get_weights()[-3])


def after_first_convolution(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer("stem_conv").output)(pixels))


def test_efficientnet_computes_what_keras_computes_from_the_published_file(tmp_path, monkeypatch):
    """The published file has standard deviations as variances; keras.applications corrects that after its download."""
    published = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    mean, variance, _count = published.get_layer(index=2).weights
    mean.assign([0.485, 0.456, 0.406])
    variance.assign([0.229, 0.224, 0.225])
    published.save(tmp_path / "efficientnetb0_notop.h5")
    source = import_module("keras.src.applications.efficientnet")
    monkeypatch.setattr(source.file_utils, "get_file", lambda *a, **k: str(tmp_path / "efficientnetb0_notop.h5"))
    keras_own = source.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))

    ours = small("EfficientNetB0", 1.0)
    load_backbone_weights(ours, tmp_path / "efficientnetb0_notop.h5")
    rebuilt = small("EfficientNetB0", 1.0)
    for variable, value in zip(rebuilt.weights, ours.get_weights(), strict=True):
        variable.assign(value)  # as a checkpoint does
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    expected = after_first_convolution(keras_own, pixels)
    for model in (ours, rebuilt):
        np.testing.assert_allclose(after_first_convolution(model, pixels), expected, rtol=1e-4, atol=1e-4)


def test_none_means_random_weights():
    assert resolve_weights(config(weights="none")) is None


def test_a_path_must_exist_and_be_of_a_known_kind(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.h5: no such file"):
        resolve_weights(config(weights=str(tmp_path / "absent.h5")))
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"model\.bin: expected a \.h5"):
        resolve_weights(config(weights=str(tmp_path / "model.bin")))
    (tmp_path / "fine.weights.h5").write_bytes(b"")
    assert resolve_weights(config(weights=str(tmp_path / "fine.weights.h5"))) == tmp_path / "fine.weights.h5"


REAL = {
    ("MobileNet", 0.25): "mobilenet_2_5_224_tf_no_top.h5",
    ("MobileNet", 0.75): "mobilenet_7_5_224_tf_no_top.h5",
    ("MobileNetV2", 0.35): "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
    ("MobileNetV2", 1.0): "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
}


@pytest.mark.real
@pytest.mark.parametrize(("name", "alpha"), REAL)
def test_published_files_load_as_keras_loads_them(shared, name, alpha):
    path = shared / "weights" / REAL[name, alpha]
    assert imagenet_file(name, alpha).name == path.name
    ours, keras_own = small(name, alpha, 64), small(name, alpha, 64)
    load_backbone_weights(ours, path)
    keras_own.load_weights(path)
    for variable, expected in zip(ours.weights, keras_own.get_weights(), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected, err_msg=variable.path)


@pytest.mark.real
@pytest.mark.parametrize("wrong", [key for key in REAL if key != ("MobileNet", 0.25)])
def test_published_files_of_others_are_refused(shared, wrong):
    with pytest.raises(WeightsError, match=r"found [Cc]onv1/kernel.*, expected conv1/kernel of shape \(3, 3, 3, 8\)"):
        load_backbone_weights(small(), shared / "weights" / REAL[wrong])
