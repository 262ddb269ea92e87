"""Variables that a checkpoint omits, and their restoration."""

import numpy as np
import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import CheckpointError
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import set_trainable
from carcls.training.checkpoint import model_variables, variable_arrays
from carcls.training.initial_weights import InitialWeights, read_omitted

CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=32,
    batch_size=4,
    stages=(StageConfig(name="top", unfreeze=0.2, epochs=1, learning_rate=0.1),),
)
TOP = "model/conv_pw_13/kernel"
BOTTOM = "model/conv1/kernel"


def built(seed: int = 0) -> Classifier:
    config = CONFIG.model_copy(update={"seed": seed})
    return build_classifier(config, size_px=32, class_count=3, weights=None)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return built()


def test_weights_that_were_never_trainable_are_omitted(classifier):
    initial = InitialWeights(classifier)
    everything = set(initial.unchanged)
    assert everything == {f"model/{variable.path}" for variable in classifier.backbone.weights}
    assert initial.all_unchanged

    set_trainable(classifier, 0.2, batch_norm=True)
    initial.note_trainable(classifier.backbone.layers)

    changing = everything - set(initial.unchanged)
    assert {TOP, "model/conv_pw_13_bn/moving_mean"} <= changing, "statistics move with their layer"
    assert BOTTOM not in changing
    assert not initial.all_unchanged
    set_trainable(classifier, 0.0, batch_norm=True)
    initial.note_trainable(classifier.backbone.layers)
    assert set(initial.unchanged) == everything - changing, "once changed, always written"


def test_a_checkpoint_is_completed_only_by_the_weights_it_omitted(classifier):
    initial = InitialWeights(classifier)
    left_out = {key: digest for key, digest in initial.unchanged.items() if key != TOP}
    variables = model_variables(classifier.model)
    saved = {key: array + 1 for key, array in variable_arrays(variables).items() if key not in left_out}

    same = built()
    completed = InitialWeights(same)
    completed.restore(model_variables(same.model), saved, left_out)
    after = variable_arrays(model_variables(same.model))
    np.testing.assert_array_equal(after[TOP], saved[TOP])
    np.testing.assert_array_equal(after[BOTTOM], variable_arrays(variables)[BOTTOM])
    assert completed.unchanged == left_out, "the next checkpoint omits the same variables"

    other = built(seed=1)
    before = variable_arrays(model_variables(other.model))
    with pytest.raises(CheckpointError, match=r"since it was written: model/conv1/kernel, .* and \d+ more"):
        InitialWeights(other).restore(model_variables(other.model), saved, left_out)
    for key, array in variable_arrays(model_variables(other.model)).items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)


def test_an_older_checkpoint_omits_the_whole_backbone_or_nothing(classifier):
    initial = InitialWeights(classifier)
    weights = set(initial.unchanged)
    saved = variable_arrays(model_variables(classifier.model))
    head = {key: array for key, array in saved.items() if key not in weights}
    initial.restore(model_variables(classifier.model), head, read_omitted({"backbone": "abc"})[1])
    assert initial.all_unchanged
    with pytest.raises(CheckpointError, match="missing from the checkpoint: model/conv1/kernel"):
        initial.restore(model_variables(classifier.model), head, read_omitted({"backbone": None})[1])
    initial.restore(model_variables(classifier.model), saved, read_omitted({})[1])
    assert set(initial.unchanged) == set()


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"weights": "abc", "left_out": {"model/a": "12"}}, ("abc", {"model/a": "12"})),
        ({"weights": None, "left_out": {}}, (None, {})),
        ({"backbone": "abc"}, ("abc", None)),
        ({"backbone": None}, (None, {})),
    ],
)
def test_omitted_variables_are_read_from_the_metadata(meta, expected):
    assert read_omitted(meta) == expected


@pytest.mark.parametrize(
    "wrong", [{"left_out": {"a": "1"}}, {"weights": "abc", "left_out": ["a"]}, {"weights": 3, "left_out": {"a": 1}}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(CheckpointError, match="invalid list of omitted variables"):
        read_omitted(wrong)
