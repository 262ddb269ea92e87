"""Optimizer, class balance, mixing and schedule can be set, searched and validated like other keys."""

import numpy as np
import pytest

from carcls.config import OptimizerConfig
from search.errors import ExperimentError
from search.experiment.experiment import load

TEXT = """\
name: choices
data: {root: photos}
train:
  backbone: MobileNet
  alpha: 0.25
  image_size: 64
  batch_size: 8
  label_smoothing: {uniform: [0.0, 0.1]}
  class_balance: {choice: [none, weights, sampling]}
  optimizer:
    kind: {choice: [adamw, sgd, rmsprop]}
    weight_decay: {loguniform: [1e-5, 1e-1]}
    momentum: {uniform: [0.0, 0.95]}
    clip_norm: {choice: [null, 1.0]}
  augment:
    mixup: {uniform: [0.0, 0.4]}
    cutmix: {choice: [0.0, 1.0]}
  stages:
    - name: full
      unfreeze: 1.0
      epochs: 2
      learning_rate: {loguniform: [1e-4, 1e-1]}
      schedule: {choice: {flat: {schedule: {kind: constant}}, wave: {schedule: {kind: cosine, warmup_epochs: 1}}}}
search: {trials: 4}
"""

NAMED = """\
  optimizer:
    kind:
      choice:
        adam: {kind: adam}
        decayed: {kind: adamw, weight_decay: {loguniform: [1e-4, 1e-1]}}
        sgd: {kind: sgd, momentum: {choice: [0.9, 0.95]}, weight_decay: {loguniform: [1e-6, 1e-2]}}
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text: str):
        path = tmp_path / "choices.yaml"
        path.write_text(text)
        return path

    return to_file


def _with_optimizer(section: str) -> str:
    before, _, rest = TEXT.partition("  optimizer:\n")
    return before + section + rest[rest.index("  augment:") :]


def test_each_choice_binds_to_the_value_that_was_drawn(write):
    config = load(write(TEXT)).bind(
        {
            "train.label_smoothing": 0.05,
            "train.class_balance": "weights",
            "train.optimizer.kind": "sgd",
            "train.optimizer.weight_decay": 1e-3,
            "train.optimizer.momentum": 0.5,
            "train.optimizer.clip_norm": 1.0,
            "train.augment.mixup": 0.2,
            "train.augment.cutmix": 1.0,
            "train.stages.full.learning_rate": 0.01,
            "train.stages.full.schedule": "flat",
        }
    )
    assert config.optimizer == OptimizerConfig(kind="sgd", weight_decay=1e-3, momentum=0.5, clip_norm=1.0)
    assert (config.class_balance, config.label_smoothing) == ("weights", 0.05)
    assert (config.augment.mixup, config.augment.cutmix) == (0.2, 1.0)
    assert config.stages[0].schedule.kind == "constant"


def test_every_sample_of_the_space_is_a_training(write):
    experiment = load(write(TEXT))
    drawn = [experiment.bind(experiment.space.sample(np.random.default_rng(seed))) for seed in range(60)]
    assert {config.optimizer.kind for config in drawn} == {"adamw", "sgd", "rmsprop"}
    assert {config.optimizer.clip_norm for config in drawn} == {None, 1.0}
    assert {config.class_balance for config in drawn} == {"none", "weights", "sampling"}
    assert {config.stages[0].schedule.kind for config in drawn} == {"constant", "cosine"}
    assert all(1e-5 <= config.optimizer.weight_decay <= 1e-1 for config in drawn)


def test_named_mappings_let_adam_and_what_decays_stand_side_by_side(write):
    experiment = load(write(_with_optimizer(NAMED)))
    drawn = [experiment.space.sample(np.random.default_rng(seed)) for seed in range(60)]
    for params in drawn:
        settings, kind = experiment.bind(params).optimizer, params["train.optimizer.kind"]
        assert settings.kind == {"adam": "adam", "decayed": "adamw", "sgd": "sgd"}[str(kind)]
        assert settings.weight_decay == params.get(f"train.optimizer.kind.{kind}.weight_decay", 0.0)
    assert {params["train.optimizer.kind"] for params in drawn} == {"adam", "decayed", "sgd"}


def test_adam_beside_a_decay_is_refused_where_it_is_written(write):
    adam_too = TEXT.replace("choice: [adamw, sgd, rmsprop]", "choice: [sgd, adam]")
    with pytest.raises(ExperimentError, match=r"weight_decay: adam has none; set kind: adamw.*named mappings") as error:
        load(write(adam_too))
    line = 1 + adam_too.splitlines().index("    weight_decay: {loguniform: [1e-5, 1e-1]}")
    assert f"choices.yaml:{line}" in str(error.value)


STAGES = """\
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: 1e-3}
    - name: full
      unfreeze: 1.0
      epochs: 2
      learning_rate: 1e-4
      batch_norm: {choice: [frozen, train]}
      batch_size: {choice: [4, null]}
      schedule: {kind: {choice: [exponential, cosine]}, floor: 0.05}
"""


def _with_stages(stages: str) -> str:
    before, _, rest = TEXT.partition("  stages:\n")
    return before + stages + rest[rest.index("search:") :]


def test_each_stage_may_search_its_batch_norm_batch_size_and_schedule(write):
    experiment = load(write(_with_stages(STAGES)))
    drawn = [experiment.bind(experiment.space.sample(np.random.default_rng(seed))) for seed in range(40)]
    assert {config.stages[1].batch_norm for config in drawn} == {"frozen", "train"}
    assert {config.stage_batch_size(1) for config in drawn} == {4, 8}
    assert {config.stage_batch_size(0) for config in drawn} == {8}
    assert {config.stages[1].schedule.kind for config in drawn} == {"exponential", "cosine"}


def test_batch_norm_that_cannot_train_is_named_at_its_own_line(write):
    text = _with_stages(STAGES.replace("      unfreeze: 1.0", "      unfreeze: 0.0"))
    with pytest.raises(ExperimentError, match=r"stage `full` trains no block of the backbone") as error:
        load(write(text))
    line = 1 + text.splitlines().index("      batch_norm: {choice: [frozen, train]}")
    assert f"choices.yaml:{line}: train.stages.full.batch_norm" in str(error.value)


def test_shape_fit_and_averaging_are_searched_like_other_keys(write):
    text = TEXT.replace(
        "  image_size: 64\n",
        "  image_size: {choice: [[48, 64], 56]}\n"
        "  fit: {choice: [stretch, pad, crop]}\n"
        "  ema: {choice: [0.0, 0.99]}\n"
        "  layer_decay: {uniform: [0.7, 1.0]}\n",
    ).replace("search: {trials: 4}", "search: {trials: 4, baseline: {image_size: [48, 64], fit: pad}}")
    experiment = load(write(text))
    base = experiment.bind(experiment.baseline)
    assert (base.image_size, base.fit) == ((48, 64), "pad")
    drawn = [experiment.bind(experiment.space.sample(np.random.default_rng(seed))) for seed in range(40)]
    assert {config.image_size for config in drawn} == {(48, 64), 56}
    assert {config.fit for config in drawn} == {"stretch", "pad", "crop"}
    assert {config.ema for config in drawn} == {0.0, 0.99}
    assert all(0.7 <= config.layer_decay <= 1.0 for config in drawn)


def test_a_shape_that_is_too_small_is_named_at_its_line(write):
    text = TEXT.replace("  image_size: 64\n", "  image_size: {choice: [[48, 64], [16, 64]]}\n")
    with pytest.raises(ExperimentError, match=r"whole number of px from 32 to 2048, or \[height, width\]") as error:
        load(write(text))
    line = 1 + text.splitlines().index("  image_size: {choice: [[48, 64], [16, 64]]}")
    assert f"choices.yaml:{line}: train.image_size" in str(error.value)


def test_a_single_run_takes_the_keys_from_the_command_line(write):
    overrides = ["train.optimizer={kind: sgd, momentum: 0.8}", "train.class_balance=sampling"]
    experiment = load(write(TEXT), overrides)
    config = experiment.bind(experiment.baseline)
    assert config.optimizer == OptimizerConfig(kind="sgd", momentum=0.8)
    assert config.class_balance == "sampling"
