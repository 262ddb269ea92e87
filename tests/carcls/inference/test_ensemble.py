"""Averaged models: the mean of members of any size, precision and backbone."""

import json
import subprocess
import sys
import zipfile

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.catalog import BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.inference.ensemble import Member, averaged
from carcls.inference.export import Card, export_model, load_model
from carcls.inference.model_config import checked_config
from carcls.inference.tta import predict_view
from carcls.input.pixels import decode
from carcls.models.classifier import Classifier, build_classifier
from tests.helpers.photos.tiny_members import NAMES, tiny_member

SIZES = (6, 9)

# Loads a model as a stranger does: Keras alone, whatever the process's own dtype policy.
PLAIN_KERAS = """
import sys
sys.modules.update(dict.fromkeys(("carcls", "search")))  # None makes their import fail
import keras, numpy as np
photos = np.load("photos.npz")
for name in photos.files:
    keras.config.set_dtype_policy("mixed_bfloat16" if name.endswith("0") else "float32")
    model = keras.saving.load_model(f"{name}.keras", safe_mode=True)
    np.save(f"{name}.npy", model.predict(photos[name], verbose=0))
assert not any(name.split(".")[0] in ("carcls", "search") for name, module in sys.modules.items() if module)
"""


class Counted(keras.layers.GlobalAveragePooling2D):
    """Pooling layer that counts how often it is built into a graph."""

    calls = 0

    def call(self, inputs):
        Counted.calls += 1
        return super().call(inputs)


def _photos(rng, count, size_px):
    return rng.integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8)


def _outputs(model, photos):
    return keras.ops.convert_to_numpy(model(photos, training=False))


def _member_outputs(member, photos):
    """Predictions of one member alone, for photos resized by Keras's layer if it is smaller."""
    if member.size_px != photos.shape[1]:
        side = member.size_px
        photos = keras.layers.Resizing(side, side, interpolation="bilinear", dtype="float32")(photos.astype(np.float32))
    return _outputs(member.classifier.model, photos)


members_of_any_kind = st.lists(
    st.builds(
        tiny_member,
        trunk_seed=st.integers(0, 2),
        head_seed=st.integers(0, 50),
        size_px=st.sampled_from(SIZES),
        policy=st.sampled_from(["float32", "mixed_float16", "mixed_bfloat16"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=15, deadline=None)
@given(members=members_of_any_kind, seed=st.integers(0, 100))
def test_it_is_the_mean_of_its_members_in_any_order(members, seed):
    size_px = max(member.size_px for member in members)
    photos = _photos(np.random.default_rng(seed), 3, size_px)
    expected = np.mean([_member_outputs(member, photos).astype(np.float64) for member in members], axis=0)
    model, backwards = averaged(members), averaged(members[::-1])
    assert (model.input_shape, model.output_shape) == ((None, size_px, size_px, 3), (None, len(NAMES)))
    found = _outputs(model, photos)
    assert found.dtype == np.float32
    assert np.ptp(found, axis=0).max() > 1e-3, "else any model would pass"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(_outputs(backwards, photos), expected, rtol=0, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(heads=st.lists(st.integers(0, 50), min_size=2, max_size=4), seed=st.integers(0, 100))
def test_members_that_share_a_trunk_equal_the_unshared_model_and_trace_it_once(heads, seed):
    photos = _photos(np.random.default_rng(seed), 2, 6)
    members, others = ([tiny_member(0, head, 6, pooling=Counted) for head in heads] for _ in range(2))
    for number, (member, other) in enumerate(zip(members, others, strict=True)):
        member.classifier.backbone.get_layer("conv").bias.assign(np.zeros(4))
        signs = [-1.0 if number >> bit & 1 else 1.0 for bit in range(4)]  # -0.0 is 0.0, but for its bits
        other.classifier.backbone.get_layer("conv").bias.assign(np.copysign(0.0, signs))
    shared, unshared = averaged(members), averaged(others)
    np.testing.assert_allclose(_outputs(shared, photos), _outputs(unshared, photos), rtol=0, atol=1e-6)
    assert _traced_trunks(shared, photos) == 1
    assert _traced_trunks(unshared, photos) == len(heads)
    trunk, head = 4 * 3 * 3 * 3 + 4, (4 + 1) * len(NAMES)
    assert shared.count_params() == trunk + len(heads) * head
    assert unshared.count_params() == len(heads) * (trunk + head)


def _traced_trunks(model, photos):
    Counted.calls = 0
    model.predict_on_batch(photos)
    return Counted.calls


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(tiny_member(0, 1, 9), id="another size"),
        pytest.param(tiny_member(1, 1, 6), id="other weights"),
        pytest.param(tiny_member(0, 1, 6, policy="mixed_float16"), id="another precision"),
        pytest.param(tiny_member(0, 1, 6, pooling=keras.layers.GlobalMaxPooling2D), id="another pooling"),
    ],
)
def test_trunks_that_differ_in_anything_are_not_shared(other):
    model = averaged([tiny_member(0, 0, 6), other])
    assert [layer.name for layer in model.layers if layer.name.startswith("trunk")] == ["trunk_0", "trunk_1"]


def test_one_member_is_its_own_model():
    member = tiny_member(0, 0, 6)
    assert averaged([member]) is member.classifier.model


def test_members_of_several_sizes_can_be_compiled_by_xla_as_on_a_gpu(rng):
    members, photos = [tiny_member(0, 0, 6), tiny_member(1, 2, 9)], _photos(rng, 2, 9)
    model = averaged(members)
    model.jit_compile = True
    expected = np.mean([_member_outputs(member, photos) for member in members], axis=0)
    np.testing.assert_allclose(model.predict_on_batch(photos), expected, rtol=0, atol=1e-6)


def test_averaging_leaves_the_members_as_they_were(rng):
    members, photos = [tiny_member(0, 0, 6), tiny_member(0, 1, 6), tiny_member(1, 2, 9)], _photos(rng, 2, 9)
    before = [member.classifier.model.get_config() for member in members]
    first = _outputs(averaged(members), photos)
    assert [member.classifier.model.get_config() for member in members] == before
    np.testing.assert_array_equal(_outputs(averaged(members), photos), first)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "members: none to average; expected at least one"),
        ([Member(tiny_member(0, 0, 6).classifier, 9)], r"members\[0\]: its model maps \(None, 6, 6, 3\)"),
    ],
)
def test_members_that_do_not_fit_are_told(members, message):
    with pytest.raises(ValueError, match=message):
        averaged(members)


def test_members_of_other_classes_are_told():
    pixels = keras.Input((6, 6, 3))
    two = keras.Model(pixels, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D(name="head_pool")(pixels)))
    one = keras.Model(pixels, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D(name="head_pool")(pixels)))
    with pytest.raises(ValueError, match=r"members\[1\]: its model maps .* to \(None, 4\); expected .* to \(None, 3\)"):
        averaged([Member(Classifier(model, model, "MobileNet"), 6) for model in (two, one)])


def _config(backbone, **changed):
    stage = StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3)
    plain = {"weights": "none", "image_size": 32, "batch_size": 2, "precision": "float32", "stages": (stage,)}
    return TrainConfig.model_validate({"backbone": backbone, **plain, **changed})


def _real(backbone, *, size_px=32, head_seed, **changed):
    """A classifier whose predictions differ between photos, unlike those of random weights."""
    classifier = build_classifier(_config(backbone, **changed), size_px=size_px, class_count=len(NAMES), weights=None)
    layers = (*classifier.backbone.layers, *classifier.model.layers)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # statistics become those of the next batch
    classifier.model(_photos(np.random.default_rng(0), 8, size_px), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    logits = classifier.model.get_layer("head_logits").kernel
    logits.assign(np.random.default_rng(head_seed).normal(scale=0.1, size=logits.shape))
    return Member(classifier, size_px)


KINDS = {
    "float0": lambda: [_real("MobileNet", alpha=0.25, seed=seed, head_seed=seed) for seed in (0, 1)],
    "frozen1": lambda: [_real("MobileNet", alpha=0.25, head_seed=seed) for seed in (0, 1, 2)],
    "half0": lambda: [
        _real("MobileNet", alpha=0.25, seed=seed, precision="float16", head_seed=seed) for seed in (0, 1)
    ],
    "mixed1": lambda: [
        _real("MobileNet", alpha=0.25, precision="bfloat16", head_seed=0, size_px=48),
        _real("MobileNetV3Small", head_seed=1),
        _real("VGG16", head_seed=2),
    ],
}
"""Ensembles by name. Plain Keras loads those whose name ends in 0 under a half-precision policy."""


def test_plain_keras_opens_what_is_exported_in_a_process_without_carsearch(tmp_path, rng):
    photos, expected = {}, {}
    for name, build in KINDS.items():
        members = build()
        size_px = max(member.size_px for member in members)
        photos[name] = _photos(rng, 3, size_px)
        by_hand = np.mean([_member_outputs(member, photos[name]) for member in members], axis=0)
        assert np.ptp(by_hand, axis=0).max() > 1e-2, "else any model would pass"
        model = averaged(members)
        # Half precision rounds differently if operations are fused.
        tolerance = 2e-2 if name in ("half0", "mixed1") else 1e-6
        np.testing.assert_allclose(_outputs(model, photos[name]), by_hand, rtol=0, atol=tolerance, err_msg=name)
        _export(tmp_path / f"{name}.keras", model, size_px=size_px, members=len(members))
        expected[name] = predict_view(model, photos[name], "plain", batch_size=3)
    np.savez(tmp_path / "photos.npz", **photos)
    subprocess.run([sys.executable, "-c", PLAIN_KERAS], cwd=tmp_path, check=True, timeout=500)
    for name, probabilities in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), probabilities, rtol=0, atol=1e-6, err_msg=name)


def _export(path, model, **changed):
    card = {"class_names": NAMES, "config": _config("MobileNet", alpha=0.25), "tta_views": ("plain",)}
    export_model(path, model, **{**card, **changed})
    return path


def test_an_exported_model_loads_with_its_card_and_predicts_files(tmp_path, rng):
    members = [tiny_member(0, 0, 6), tiny_member(1, 1, 6), tiny_member(1, 2, 9)]
    model = averaged(members)
    exported = load_model(_export(tmp_path / "model.keras", model, size_px=9, members=3, tta_views=("plain", "flip")))
    assert (exported.card.members, exported.card.size_px) == (3, 9)
    photos = _photos(rng, 4, 40)
    paths = [tmp_path / f"{number}.png" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        cv2.imwrite(str(path), photo)
    pixels = np.stack([decode(path, 9) for path in paths])
    by_hand = np.mean([_member_outputs(m, pixels) + _member_outputs(m, pixels[:, :, ::-1]) for m in members], 0) / 2
    found = exported.predict_files(paths, batch_size=3)
    assert [one.label for one in found] == [NAMES[best] for best in by_hand.argmax(axis=1)]
    np.testing.assert_allclose([one.probability for one in found], by_hand.max(axis=1), rtol=0, atol=1e-6)


def test_an_older_card_without_members_counts_one(tmp_path):
    path = _export(tmp_path / "model.keras", tiny_member(0, 0, 6).classifier, size_px=6)
    card = json.loads(load_model(path).card.model_dump_json())
    assert card.pop("members") == 1
    assert Card.model_validate(card).members == 1


def test_names_are_unique_and_the_same_whatever_was_built_before(tmp_path):
    def names():
        members = [_real("MobileNet", alpha=0.25, head_seed=0), _real("MobileNetV3Small", head_seed=1, size_px=48)]
        path = _export(tmp_path / "model.keras", averaged(members), size_px=48, members=2)
        with zipfile.ZipFile(path) as archive:
            return list(_layer_names(json.loads(archive.read("config.json")), "model"))

    first = names()
    keras.layers.Dense(1)(keras.Input((3,)))
    assert names() == first
    assert len(set(first)) == len(first)
    assert [name for name in first if name.count("/") == 1] == [
        "model/pixels",
        "model/resized_32",
        "model/trunk_0",
        "model/trunk_1",
        "model/head_0",
        "model/head_1",
        "model/mean",
    ]


def _layer_names(config, path):
    for layer in config["config"].get("layers", ()):
        yield f"{path}/{layer['name']}"
        yield from _layer_names(layer, f"{path}/{layer['name']}")


@pytest.mark.parametrize(
    "backbone",
    [
        "MobileNetV3Small",
        "ConvNeXtTiny",  # a Sequential inside its backbone: the deepest nesting
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ResNet50V2", "DenseNet121", "NASNetMobile")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("EfficientNetV2B0", "VGG16")),
        # The deepest takes CI longest.
        pytest.param("InceptionResNetV2", marks=[pytest.mark.slow, pytest.mark.release]),
    ],
)
def test_an_average_of_every_family_passes_the_check_of_foreign_models(backbone):
    size_px = BACKBONES[backbone].min_size_px
    members = [
        Member(build_classifier(_config(backbone, image_size=px), size_px=px, class_count=3, weights=None), px)
        for px in (size_px, size_px + 16)
    ]
    written = keras.saving.serialize_keras_object(averaged(members))
    assert checked_config(json.dumps(written).encode())["config"]["name"] == "averaged"


def test_weights_are_shares_of_the_mean_and_survive_the_file(tmp_path):
    rng = np.random.default_rng(4)
    members = [tiny_member(1, 1, 6), tiny_member(2, 2, 6)]
    photos = _photos(rng, 4, 6)
    model = averaged(members, [3.0, 1.0])
    expected = 0.75 * _member_outputs(members[0], photos) + 0.25 * _member_outputs(members[1], photos)
    assert np.allclose(_outputs(model, photos), expected, atol=1e-6)
    assert np.array_equal(_outputs(averaged(members, [2.0, 2.0]), photos), _outputs(averaged(members), photos))
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        checked_config(archive.read("config.json"))
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="weights: expected 2 numbers above 0"):
            averaged(members, weights)
