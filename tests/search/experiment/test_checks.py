# ruff: noqa: E501 - each row holds a whole message
"""Problems of an invalid file: position, key, expectation, nearest name."""

from pathlib import Path

import pytest

from search.errors import ExperimentError
from search.experiment.experiment import load

GOOD = """\
name: small
data: {root: photos}
train:
  backbone: {choice: [MobileNet, Xception]}
  weights: none
  image_size: {choice: [96, 128]}
  batch_size: 8
  head: {dropout: {uniform: [0.0, 0.5]}}
  augment: {policy: light}
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: 1e-3}
    - {name: full, unfreeze: 1.0, epochs: 3, learning_rate: 1e-4}
search:
  trials: 4
  baseline: {image_size: 96}
retrain:
  stages: {full: {epochs: 9}}
tta: {views: [plain]}
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(text, overrides=()):
        Path("f.yaml").write_text(text)
        with pytest.raises(ExperimentError) as caught:
            load(Path("f.yaml"), overrides)
        return [str(problem) for problem in caught.value.problems]

    return of


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small", "name: ../small", "f.yaml:1: name: expected a name of letters, digits, - and _, found '../small'"),
        ("name: small\n", "", "f.yaml:1: name: is missing"),
        ("data:", "dta:", "f.yaml:2: dta: unknown key; did you mean 'data'?"),
        ("{root: photos}", "{rot: photos}", "f.yaml:2: data.rot: unknown key; did you mean 'root'?"),
        ("{root: photos}", "{root: photos, judge: {fraction: 0.2}}", "f.yaml:2: data.judge: was renamed: write `data.holdout`"),
        ("{root: photos}", "{root: photos, holdout: {}}", "f.yaml:2: data.holdout.fraction: is missing"),
        ("{root: photos}", "{root: photos, holdout: {fraction: 0}}", "f.yaml:2: data.holdout.fraction: expected greater than 0, found 0"),
        ("{root: photos}", "{root: photos, holdout: {fraction: 1.0}}", "f.yaml:2: data.holdout.fraction: expected less than 1, found 1.0"),
        ("{root: photos}", "{root: photos, holdout: {fraction: 0.2, seed: 1}}", "f.yaml:2: data.holdout.seed: unknown key here; did you mean `data.validation.seed` or `search.seed`?"),
        ("{root: photos}", "{root: photos, validation: {fraction: 0.4}, holdout: {fraction: 0.6}}", "f.yaml:2: data.holdout.fraction: 0.6 and data.validation.fraction 0.4 leave no photos to train on; expected a sum below 1"),
        ("Xception]", "Xceptoin]", "f.yaml:4: train.backbone: unknown backbone 'Xceptoin'; did you mean 'Xception'?"),
        ("weights: none", "weights: imagnet", "f.yaml:5: train.weights: unknown weights 'imagnet'; did you mean 'imagenet'?"),
        ("weights: none", "weights: dinov2_smal", "f.yaml:5: train.weights: unknown weights 'dinov2_smal'; did you mean 'dinov2_small'?"),
        ("Xception]", "DINOv2Small]", "f.yaml:6: train.image_size: stage `head` trains at 96 px; DINOv2Small needs multiples of 14, such as 84 or 98"),
        ("weights: none", "alpha: 0.3", "f.yaml:5: train.alpha: no ImageNet weights for MobileNet at alpha 0.3; expected one of 0.25, 0.5, 0.75, 1.0"),
        ("weights: none", "alpha: 0.25", "f.yaml:5: train.alpha: Xception has no width multiplier; leave alpha out"),
        ("[96, 128]", "[96, 16]", "f.yaml:6: train.image_size: expected a whole number of px from 32 to 2048, or [height, width] of such, found 16"),
        ("[96, 128]", "[96, 64]", "f.yaml:6: train.image_size: stage `head` trains at 64 px; Xception needs at least 71"),
        ("batch_size: 8", "batch_size: '8'", "f.yaml:7: train.batch_size: expected a whole number, found '8'"),
        ("batch_size: 8", "batch_siz: 8", "f.yaml:7: train.batch_siz: unknown key; did you mean 'batch_size'?"),
        ("batch_size: 8", "batch_size: {uniform: [1, 9]}", "f.yaml:7: train.batch_size: expected a whole number, found 5.0; a whole number varies by `int: [low, high]`"),
        ("uniform: [0.0, 0.5]", "uniform: [0.0, 1.5]", "f.yaml:8: train.head.dropout: expected less than 1, found 1.5"),
        ("uniform: [0.0, 0.5]", "unifrom: [0.0, 0.5]", "f.yaml:8: train.head.dropout: expected a number, found {'unifrom': [0.0, 0.5]}; did you mean `uniform`?"),
        ("uniform: [0.0, 0.5]", "uniform: [0.5, 0.0]", "f.yaml:8: train.head.dropout: uniform needs low < high, found [0.5, 0.0]"),
        ("policy: light", "policy: lite", "f.yaml:9: train.augment.policy: unknown augmentation policy 'lite'; did you mean 'light'?"),
        ("policy: light", "units: 3", "f.yaml:9: train.augment.units: unknown key here; did you mean `head.units`?"),
        ("epochs: 2", "epochs: 0", "f.yaml:11: train.stages.head.epochs: expected greater than or equal to 1, found 0"),
        ("epochs: 3, ", "", "f.yaml:12: train.stages.full.epochs: is missing"),
        ("name: full", "name: head", "f.yaml:10: train.stages: every name must be used once, found head, head"),
        ("trials: 4", "trials: {choice: [4]}", "f.yaml:14: search.trials: expected a whole number, found {'choice': [4]}; only values under `train` can be searched"),
        ("trials: 4", "portfolio: bultin", "f.yaml:14: search.portfolio: expected `builtin`, or a list of experiment files, found 'bultin'"),
        ("trials: 4", "portfolio: [a.yaml, 3]", "f.yaml:14: search.portfolio: expected `builtin`, or a list of experiment files, found ['a.yaml', 3]"),
        ("trials: 4", "sampler: tpee", "f.yaml:14: search.sampler: expected 'tpe', 'random' or 'sobol', found 'tpee'; did you mean 'tpe'?"),
        ("trials: 4", "resources: {gpus_per_trial: 1.5}", "f.yaml:14: search.resources.gpus_per_trial: expected 0, a share from 0.25 to 1, or a whole number of GPUs, found 1.5"),
        ("trials: 4", "resources: {gpus_per_trial: 0.1}", "f.yaml:14: search.resources.gpus_per_trial: expected 0, a share from 0.25 to 1, or a whole number of GPUs, found 0.1"),
        ("image_size: 96}", "image_size: 100}", "f.yaml:15: search.baseline.image_size: 100 is outside choice [96, 128]"),
        ("image_size: 96}", "image_siz: 96}", "f.yaml:15: search.baseline.image_siz: is no parameter of this search; did you mean `image_size`?"),
        ("image_size: 96}", "batch_size: 8}", "f.yaml:15: search.baseline.batch_size: is fixed in `train`; a baseline only gives values for domains"),
        ("full: {epochs: 9}", "ful: {epochs: 9}", "f.yaml:17: retrain.stages.ful: no stage has this name; did you mean 'full'?"),
        ("full: {epochs: 9}", "full: {epoch: 9}", "f.yaml:17: retrain.stages.full.epoch: unknown key; did you mean 'epochs'?"),
        ("full: {epochs: 9}", "full: {image_scale: 0.5}", "f.yaml:16: retrain.image_size: stage `full` trains at 48 px; Xception needs at least 71"),
        ("stages: {full: {epochs: 9}}", "head: {layers: {0: {width: 4}}}", "f.yaml:17: retrain.head.layers: expected a list, found {'0': {'width': 4}}"),
        ("stages: {full: {epochs: 9}}", "weights: imagnt", "f.yaml:17: retrain.weights: unknown weights 'imagnt'; did you mean 'imagenet'?"),
        ("[plain]", "[plian]", "f.yaml:18: tta.views: unknown view 'plian'; did you mean 'plain'?"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_where_it_stands(problems, old, new, expected):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    assert expected in problems(text)


LAYERS = GOOD.replace("{dropout: {uniform: [0.0, 0.5]}}", "{layers: [{kind: dense, width: 4}, {kind: relu}]}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("{2: {width: 8}}", "f.yaml:17: retrain.head.layers.2: no item has this number; expected one of 0, 1"),
        ("{dense: {width: 8}}", "f.yaml:17: retrain.head.layers.dense: no item has this number; expected one of 0, 1"),
        ("{1: {width: 8}}", "f.yaml:17: retrain.head.layers.1.width: a relu layer has none; leave it out"),
        ("{0: {widht: 8}}", "f.yaml:17: retrain.head.layers.0.widht: unknown key; did you mean 'width'?"),
    ],
)
def test_a_wrong_change_to_a_layer_of_the_head_is_named(problems, changes, expected):
    text = LAYERS.replace("stages: {full: {epochs: 9}}", f"head: {{layers: {changes}}}")
    assert problems(text) == [expected]
    override = f"retrain.head.layers={changes}"
    assert problems(LAYERS, [override]) == [expected.replace("f.yaml:17", f"--set {override}")]


def test_all_problems_are_told_at_once_in_reading_order(problems):
    text = GOOD.replace("photos}", "photos, validaton: {}}").replace("epochs: 2", "epohcs: 2").replace("[plain]", "[]")
    assert problems(text, ["search.trials=0"]) == [
        "f.yaml:2: data.validaton: unknown key; did you mean 'validation'?",
        "f.yaml:11: train.stages.head.epochs: is missing",
        "f.yaml:11: train.stages.head.epohcs: unknown key; did you mean 'epochs'?",
        "f.yaml:18: tta.views: expected at least one item, found []",
        "--set search.trials=0: search.trials: expected greater than or equal to 1, found 0",
    ]


def test_a_combination_that_only_samples_reach_is_found(problems):
    text = GOOD.replace("[96, 128]", "[128, 64]").replace("MobileNet,", "MobileNet, MobileNetV2,")
    text = text.replace("image_size: 96}", "backbone: MobileNetV2}")
    assert problems(text) == [
        "f.yaml:6: train.image_size: stage `head` trains at 64 px; Xception needs at least 71",
    ]


def test_nothing_is_said_of_pydantic(problems):
    told = "\n".join(
        problems("name: 3\ntrain: []\nsearch: x\nretrain: 1\ntta: {views: 3, confidence: 2}\nresults: {}\n")
    )
    assert "pydantic" not in told
    assert "Input should" not in told
    assert "f.yaml:2: train: expected a mapping, found []" in told
    assert "f.yaml:1: data: is missing" in told


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "train.stages.fll.epochs=3",
            "train.stages.fll.epochs: `train.stages` has no item 'fll'; did you mean 'full'?",
        ),
        ("train.stages.7.epochs=3", "train.stages.7.epochs: `train.stages` has no item '7'; expected head, full, 0..1"),
        (
            "train.batch_size.x=3",
            "train.batch_size.x: `train.batch_size` is 8, not a section; set `train.batch_size` itself",
        ),
        ("train.batchsize=3", "train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("serch.trials=3", "serch: unknown key; did you mean 'search'?"),
        ("search.trials", "search.trials: expected path=value, such as search.trials=8"),
        ("=3", "--set: expected path=value, such as search.trials=8"),
        ("search.trials=[1", "search.trials: cannot be read: expected ',' or ']'"),
        ("train.stages.full.epochs=0", "train.stages.full.epochs: expected greater than or equal to 1, found 0"),
    ],
)
def test_wrong_overrides_are_named_as_they_were_given(problems, override, expected):
    told = problems(GOOD, [override])
    assert any(line.startswith(f"--set {override}: {expected}") for line in told), told
