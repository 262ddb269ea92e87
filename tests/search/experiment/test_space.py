import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import ExperimentError
from search.experiment.template import space_of

SEEDS = st.integers(0, 2**32 - 1)
CONDITIONAL = {
    "model": {
        "choice": {
            "small": {"backbone": "MobileNet", "alpha": {"choice": [0.25, 0.5]}},
            "large": {
                "backbone": "Xception",
                "image_size": {"int": [71, 99]},
                "tail": {"choice": {"a": {"x": {"uniform": [0, 1]}}, "b": {}}},
            },
        }
    },
    "batch_size": 16,
    "stages": {
        "choice": {
            "short": {"stages": [{"name": "head", "epochs": 1}]},
            "long": {"stages": [{"name": "head", "epochs": 1}, {"name": "full", "epochs": {"int": [1, 3]}}]},
        }
    },
}


@pytest.fixture(scope="module")
def space():
    return space_of(CONDITIONAL)


def test_parameters_are_named_by_path_stage_and_option_in_file_order(space):
    assert tuple(space.domains) == (
        "train.model",
        "train.model.small.alpha",
        "train.model.large.image_size",
        "train.model.large.tail",
        "train.model.large.tail.a.x",
        "train.stages",
        "train.stages.long.stages.full.epochs",
    )


def test_only_parameters_of_chosen_options_are_active(space):
    small = {"train.model": "small", "train.stages": "short"}
    assert space.active(small) == ("train.model", "train.model.small.alpha", "train.stages")
    large = {"train.model": "large", "train.model.large.tail": "a", "train.stages": "long"}
    assert space.active(large) == (
        "train.model",
        "train.model.large.image_size",
        "train.model.large.tail",
        "train.model.large.tail.a.x",
        "train.stages",
        "train.stages.long.stages.full.epochs",
    )
    assert space.active({}) == ("train.model", "train.stages")


def test_a_chosen_mapping_stands_in_place_of_its_key(space):
    values = {
        "train.model": "large",
        "train.model.large.image_size": 80,
        "train.model.large.tail": "a",
        "train.model.large.tail.a.x": 0.5,
        "train.stages": "long",
        "train.stages.long.stages.full.epochs": 2,
    }
    resolved = space.resolve(lambda parameter: values[parameter.name])
    assert resolved.tree == {
        "backbone": "Xception",
        "image_size": 80,
        "x": 0.5,
        "batch_size": 16,
        "stages": [{"name": "head", "epochs": 1}, {"name": "full", "epochs": 2}],
    }
    assert list(resolved.tree) == ["backbone", "image_size", "x", "batch_size", "stages"]
    assert resolved.sources[("backbone",)] == ("train", "model", "choice", "large", "backbone")
    assert resolved.sources[("stages", 1, "epochs")][-4:] == ("long", "stages", 1, "epochs")


def test_the_default_takes_each_first_option(space):
    assert space.default() == {"train.model": "small", "train.model.small.alpha": 0.25, "train.stages": "short"}


@given(SEEDS)
def test_a_sample_has_a_value_inside_for_each_active_parameter_and_no_other(seed):
    space = space_of(CONDITIONAL)
    params = space.sample(np.random.default_rng(seed))
    assert tuple(params) == space.active(params)
    assert space.problems(params) == ()


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_optuna_defines_the_same_space_by_running(seed):
    space = space_of(CONDITIONAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    params = space.suggest(trial)
    assert trial.params == params
    assert tuple(params) == space.active(params)
    assert space.problems(params) == ()
    assert space.suggest(optuna.trial.FixedTrial(params)) == params


def test_what_is_wrong_with_params_is_said_by_name(space):
    params = {
        "train.model": "small",
        "train.model.large.image_size": 80,
        "train.stages": "shrt",
        "train.model.small.alfa": 1,
    }
    assert space.problems(params) == (
        ("train.model.small.alpha", "has no value; expected choice [0.25, 0.5]"),
        ("train.stages", "'shrt' is outside choice [short, long]"),
        ("train.model.large.image_size", "exists only with another option"),
        ("train.model.small.alfa", "is no parameter of this space"),
    )


@pytest.mark.parametrize(
    ("train", "key", "words"),
    [
        ({"a": {"choice": {"x": {"b": 1}}}, "b": 2}, "train.a.x.b", "sets `b`, which is already set beside `a`"),
        ({"a": {"choice": {"x": {"b": 1}}}, "c": {"choice": {"y": {"b": 2}}}}, "train.a.x.b", "set beside `a`"),
        ({"a": {"choice": {"x": {"n": {"choice": {"y": {"b": 1}}}}}}, "b": 2}, "train.a.x.n", "sets `b`"),
        ({"a": {"choice": {"x y": {}}}}, "train.a.x y", "letters, digits"),
        ({"a": {"choice": {"x": 3}}}, "train.a.x", "needs a mapping"),
        ({"a": [{"choice": [1]}]}, "train.a.0", "a list item cannot be a domain"),
        (
            {"s": [{"name": "n", "e": {"int": [1, 2]}}, {"name": "n", "e": {"int": [1, 2]}}]},
            "train.s.n.e",
            "two parameters",
        ),
        ({"a": {"int": [2, 1]}}, "train.a", "low < high"),
    ],
)
def test_templates_that_cannot_be_understood(train, key, words):
    with pytest.raises(ExperimentError) as caught:
        space_of(train)
    assert caught.value.problems[0].key == key
    assert words in caught.value.problems[0].message
