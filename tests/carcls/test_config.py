"""The configuration of one training: what it accepts, what it refuses, and its messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from carcls.catalog import BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.frames import Frame
from carcls.training.steps.min_micro_batch import min_micro_batch

HEAD = {"name": "head", "unfreeze": 0.0, "epochs": 5, "learning_rate": 1e-3}
FULL = {"name": "full", "unfreeze": 1.0, "epochs": 6, "learning_rate": 1e-4, "image_scale": 1.5}


def values(**changes) -> dict:
    return {"backbone": "Xception", "image_size": 224, "batch_size": 32, "stages": (HEAD, FULL)} | changes


def test_a_rectangle_is_height_and_width_in_any_spelling():
    for spelled in ((240, 320), [240, 320], "240x320"):
        config = train_config(image_size=spelled, fit="pad")
        assert config.image_size == (240, 320)
        assert config.stage_size(0) == Frame(240, 320, "pad")
        assert [config.stage_image_size(stage) for stage in (0, 1)] == ["240x320", "360x480"]
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert train_config(image_size=[224, 224]) == train_config()
    assert train_config().stage_size(1) == 336


def train_config(**changes) -> TrainConfig:
    return TrainConfig.model_validate(values(**changes))


def test_survives_json():
    config = train_config(head={"units": 256, "l2": 1e-4}, augment={"policy": "light", "views": 4})
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_is_frozen_throughout():
    config = train_config()
    for part, key in ((config, "batch_size"), (config.head, "dropout"), (config.stages[0], "epochs")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, key, 1)


def test_epochs_and_sizes_of_stages():
    config = train_config(image_size=225)
    assert config.total_epochs == 11
    assert [config.stage_image_size(stage) for stage in (0, 1)] == [225, 338]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "Xeption"}, "did you mean 'Xception'"),
        ({"backbone": "ViT"}, "expected one of VGG16"),
        ({"augment": {"policy": "hevy"}}, "unknown augmentation policy 'hevy'"),
        ({"alpha": 0.5}, "Xception has no width multiplier"),
        (
            {"backbone": "MobileNet", "alpha": 0.35},
            r"no ImageNet weights for MobileNet at alpha 0.35; expected one of 0.25",
        ),
        ({"weights": "sample"}, "MobileNetV2 with alpha 0.35"),
        ({"backbone": "ViTBase"}, "did you mean 'ViTBase32'"),
        ({"backbone": "ViTTiny16", "stages": (HEAD,)}, "KerasHub publishes none for ViTTiny16; name a file"),
        ({"weights": "dinov2_small"}, "dinov2_small is no preset of Xception; it has none"),
        (
            {"backbone": "DINOv2Small", "weights": "swin_tiny_patch4_window7_224", "stages": (HEAD,)},
            "no preset of DINOv2Small; expected one of dinov2_small",
        ),
        (
            {"backbone": "DINOv2Small", "image_size": 384, "stages": (HEAD,)},
            r"stage `head` trains at 384 px; DINOv2Small needs multiples of 14, such as 378 or 392",
        ),
        ({"backbone": "DINOv2Small", "image_size": [224, 280], "stages": (HEAD,)}, "DINOv2Small needs a square"),
        ({"backbone": "ViTBase32", "image_size": [224, 240], "stages": (HEAD,)}, "multiples of 32, such as 224 or 256"),
        (
            {"backbone": "ViTBase16"},
            r"stages.1.image_scale: stage `full` trains at 336 px, the first one at 224; ViTBase16 has weights",
        ),
        ({"backbone": "SwinTiny", "image_size": 192, "stages": (HEAD,)}, "SwinTiny needs at least 224"),
        ({"image_size": 64}, r"stage `head` trains at 64 px; Xception needs at least 71"),
        ({"image_size": 100, "stages": (HEAD, FULL | {"image_scale": 0.5})}, "stage `full` trains at 50 px"),
        ({"image_size": [64, 224]}, r"stage `head` trains at 64x224 px; Xception needs at least 71"),
        ({"image_size": [224]}, r"a whole number of px from 32 to 2048, or \[height, width\] of such"),
        ({"image_size": [224, 4096]}, r"from 32 to 2048"),
        ({"image_size": "224x"}, r"from 32 to 2048"),
        ({"image_size": 224.5}, r"from 32 to 2048"),
        ({"image_size": True}, r"from 32 to 2048"),
        ({"fit": "letterbox"}, "'stretch', 'pad' or 'crop'"),
        ({"layer_decay": 0.0}, "greater than 0"),
        ({"ema": 1.0}, "less than 1"),
        ({"stages": (HEAD, HEAD)}, "every name must be used once, found head, head"),
        ({"stages": ()}, "at least 1 item"),
        ({"stages": (HEAD | {"learning_rate": float("nan")},)}, "finite"),
        ({"stages": (HEAD | {"learning_rate": float("inf")},)}, "finite"),
        ({"stages": (HEAD | {"unfreeze": 1.01},)}, "less than or equal to 1"),
        ({"stages": (HEAD | {"epochs": 0},)}, "greater than or equal to 1"),
        ({"stages": (HEAD | {"name": "../up"},)}, "match pattern"),
        ({"stages": (HEAD | {"schedule": {"kind": "step"}},)}, "constant"),
        (
            {"stages": (HEAD | {"schedule": {"kind": "plateau", "warmup_epochs": 1}},)},
            "a plateau schedule has no warm-up",
        ),
        (
            {"stages": (HEAD | {"schedule": {"kind": "one_cycle", "warmup_epochs": 1}},)},
            "warmup_epochs: a one_cycle schedule has no warm-up",
        ),
        ({"stages": (HEAD | {"schedule": {"kind": "exponential"}},)}, "floor: an exponential schedule never reaches 0"),
        ({"stages": (HEAD | {"schedule": {"start": 0.0}},)}, "greater than 0"),
        ({"stages": (HEAD | {"schedule": {"peak_at": 1.0}},)}, "less than 1"),
        ({"stages": (HEAD | {"batch_norm": "train"}, FULL)}, r"stages.0.batch_norm: stage `head` trains no block"),
        ({"stages": (HEAD, FULL | {"batch_size": 1})}, r"stages.1.batch_size: BatchNorm in the head needs 2 or more"),
        (
            {"stages": (FULL | {"batch_size": 1, "batch_norm": "train"},), "head": {"batch_norm": False}},
            r"stages.0.batch_size: BatchNorm that trains needs 2 or more; set batch_norm: frozen",
        ),
        ({"stages": (FULL | {"batch_norm": True},)}, "'auto', 'frozen' or 'train'"),
        ({"batch_size": 1}, "BatchNorm in the head needs 2 or more"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"learning_rate": 1e-3}, "Extra inputs are not permitted"),
        ({"head": {"dropout": 1.0}}, "less than 1"),
        ({"head": {"layers": [{"kind": "dense"}]}}, "width: is missing; a dense layer needs it"),
        ({"head": {"layers": [{"kind": "dropout"}]}}, "rate: is missing"),
        ({"head": {"layers": [{"kind": "relu", "width": 3}]}}, "width: a relu layer has none"),
        ({"head": {"layers": [{"kind": "dropout", "rate": 0.1, "bias": False}]}}, "bias: a dropout layer has none"),
        ({"head": {"layers": [{"kind": "tanh"}]}}, "'dense', 'batch_norm', 'relu' or 'dropout'"),
        ({"head": {"layers": [], "units": 8}}, "units: `layers` replaces it; leave one of the two out"),
        ({"batch_size": 1, "head": {"layers": [{"kind": "batch_norm"}]}}, "BatchNorm in the head needs 2 or more"),
        ({"precision": "float64"}, "bfloat16"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"optimizer": {"kind": "lamb"}}, "'adam', 'adamw', 'sgd' or 'rmsprop'"),
        ({"optimizer": {"kind": "adam", "weight_decay": 1e-3}}, "weight_decay: adam has none; set kind: adamw"),
        ({"optimizer": {"weight_decay": 1e-3}}, "weight_decay: adam has none"),
        ({"optimizer": {"kind": "adamw", "weight_decay": -0.1}}, "greater than or equal to 0"),
        ({"optimizer": {"kind": "adamw", "weight_decay": 1.0}}, "less than 1"),
        ({"optimizer": {"kind": "sgd", "momentum": 1.0}}, "less than 1"),
        ({"optimizer": {"clip_norm": 0.0}}, "greater than 0"),
        ({"optimizer": {"nesterov": True}}, "Extra inputs are not permitted"),
        ({"class_balance": "focal"}, "'none', 'weights' or 'sampling'"),
        ({"augment": {"mixup": -0.1}}, "greater than or equal to 0"),
    ],
)
def test_refuses_and_says_why(changes, message):
    with pytest.raises(ValidationError, match=message):
        train_config(**changes)


def test_decay_and_momentum_are_accepted_where_they_apply():
    for kind in ("adamw", "sgd", "rmsprop"):
        assert train_config(optimizer={"kind": kind, "weight_decay": 0.01}).optimizer.weight_decay == 0.01
    for kind in ("adam", "adamw"):
        assert train_config(optimizer={"kind": kind, "weight_decay": 0, "momentum": 0.5}).optimizer.kind == kind


def test_any_width_is_fine_for_random_weights_or_a_file():
    for weights in ("none", "models/own.h5"):
        assert train_config(backbone="MobileNet", alpha=0.3, weights=weights).alpha == 0.3


@pytest.mark.parametrize(
    ("backbone", "size_px", "trains"),
    [("Xception", 224, True), ("VGG16", 224, False), ("ConvNeXtTiny", 224, False), ("ViTBase16", 224, False)],
)
def test_only_a_backbone_with_batch_norm_trains_its_statistics(backbone, size_px, trains):
    full = FULL | {"image_scale": 1.0, "batch_norm_momentum": 0.9}
    made = {"backbone": backbone, "image_size": size_px, "weights": "none", "head": {"batch_norm": False}}
    config = train_config(stages=(HEAD, full), **made)
    assert [config.trains_statistics(stage) for stage in (0, 1)] == [False, trains]
    assert [min_micro_batch(config, stage) for stage in (0, 1)] == [1, 3 if trains else 1]
    assert config.statistics_momentum(1) == (0.9 if trains else None)
    single = made | {"batch_size": 1, "stages": (full | {"batch_norm": "train"},)}
    if trains:
        with pytest.raises(ValidationError, match="BatchNorm that trains needs 2 or more"):
            train_config(**single)
    else:
        assert train_config(**single).batch_size == 1


def test_the_sample_weights_fit_their_backbone():
    assert train_config(backbone="MobileNetV2", alpha=0.35, weights="sample").weights == "sample"


@given(st.sampled_from(list(BACKBONES)), st.integers(32, 400), st.floats(0.25, 4.0))
def test_no_stage_is_ever_below_the_backbones_smallest_size(name, size_px, scale):
    stage = HEAD | {"image_scale": scale}
    try:
        config = train_config(backbone=name, image_size=size_px, stages=(stage,))
    except ValidationError:
        assert round(size_px * scale) < BACKBONES[name].min_size_px
    else:
        assert config.stage_image_size(0) >= BACKBONES[name].min_size_px


@given(st.floats(0, 1), st.integers(1, 10_000), st.floats(1e-8, 10.0))
def test_stages_survive_json(unfreeze, epochs, learning_rate):
    stage = StageConfig(name="s", unfreeze=unfreeze, epochs=epochs, learning_rate=learning_rate)
    assert StageConfig.model_validate_json(stage.model_dump_json()) == stage
