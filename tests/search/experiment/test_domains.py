import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.experiment.domains import Choice, Integer, LogUniform, Uniform
from search.experiment.file.domain_syntax import DomainError, read_domain

BOUNDS = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).filter(lambda b: b[1] - b[0] > 1e-3)


@st.composite
def domains(draw):
    low, high = draw(BOUNDS)
    kind = draw(st.sampled_from(["choice", "uniform", "stepped", "loguniform", "int", "logint"]))
    whole_low = draw(st.integers(1, 1000))
    whole_high = whole_low + draw(st.integers(1, 1000))
    return {
        "choice": lambda: Choice(tuple(draw(st.lists(st.integers() | st.text(), min_size=1, max_size=5, unique=True)))),
        "uniform": lambda: Uniform(low, high),
        "stepped": lambda: Uniform(
            whole_low / 100, whole_high / 100, draw(st.integers(1, whole_high - whole_low)) / 100
        ),
        "loguniform": lambda: LogUniform(abs(low) + 1e-9, abs(low) + abs(high) + 1e-3),
        "int": lambda: Integer(whole_low, whole_high, draw(st.integers(1, whole_high - whole_low))),
        "logint": lambda: Integer(whole_low, whole_high, log=True),
    }[kind]()


@given(domains(), st.integers(0, 2**32 - 1))
def test_default_ends_and_draws_are_inside(domain, seed):
    rng = np.random.default_rng(seed)
    for value in (domain.default(), *domain.corners(), *(domain.draw(rng) for _ in range(10))):
        assert value in domain


@given(domains(), st.floats(0, 1, exclude_max=True))
def test_every_place_of_the_unit_interval_has_a_value(domain, unit):
    assert domain.at(unit) in domain


@given(domains(), st.integers(0, 2**32 - 1))
def test_a_value_is_found_again_at_its_place(domain, seed):
    value = domain.draw(np.random.default_rng(seed))
    assert 0.0 <= domain.unit(value) <= 1.0
    found = domain.at(domain.unit(value))
    assert found == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value)


def test_places_are_shared_out_evenly():
    assert [Choice(("a", "b")).at(unit) for unit in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]
    assert [Integer(1, 5, step=2).at(unit) for unit in (0.0, 0.34, 0.67)] == [1, 3, 5]
    assert Uniform(2.0, 4.0).at(0.25) == 2.5
    assert LogUniform(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)
    assert LogUniform(1e-4, 1e-2).unit(1e-3) == pytest.approx(0.5)


@given(domains(), st.integers(0, 2**32 - 1))
def test_the_same_seed_draws_the_same(domain, seed):
    first, second = (domain.draw(np.random.default_rng(seed)) for _ in range(2))
    assert first == second


@given(domains(), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("error::UserWarning")  # Optuna warns where it would change a range
def test_what_optuna_suggests_is_inside(domain, seed):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    value = domain.suggest(study.ask(), "x")
    assert value in domain


@given(domains(), st.integers(0, 2**32 - 1))
def test_what_is_drawn_is_what_optuna_would_accept(domain, seed):
    optuna = pytest.importorskip("optuna")
    value = domain.draw(np.random.default_rng(seed))
    assert domain.suggest(optuna.trial.FixedTrial({"x": value}), "x") == value


@pytest.mark.parametrize(
    ("raw", "domain", "default", "text"),
    [
        ({"choice": ["b", "a"]}, Choice(("b", "a")), "b", "choice [b, a]"),
        ({"choice": [0, False, None]}, None, None, None),
        ({"choice": {"small": {}, "large": {}}}, Choice(("small", "large")), "small", "choice [small, large]"),
        ({"uniform": [0, 1]}, Uniform(0.0, 1.0), 0.5, "uniform [0, 1]"),
        ({"uniform": [0.3, 0.5], "step": 0.1}, Uniform(0.3, 0.5, 0.1), 0.4, "uniform [0.3, 0.5] step 0.1"),
        ({"loguniform": [1e-4, 1e-2]}, LogUniform(1e-4, 1e-2), 1e-3, "loguniform [0.0001, 0.01]"),
        ({"int": [2, 9]}, Integer(2, 9), 6, "int [2, 9]"),
        ({"int": [16, 100], "step": 32}, Integer(16, 100, 32), 48, "int [16, 100] step 32"),
        ({"int": [1, 100], "log": True}, Integer(1, 100, 1, log=True), 10, "int [1, 100] log"),
    ],
)
def test_domains_read_from_mappings(raw, domain, default, text):
    if domain is None:  # false equals 0: the two could not be told apart in a record
        with pytest.raises(DomainError, match="holds False twice"):
            read_domain(raw)
        return
    assert read_domain(raw) == domain
    assert domain.default() == default
    assert str(domain) == text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"choice": []}, "at least one"),
        ({"choice": 3}, "at least one"),
        ({"choice": [1, 2, 1]}, "holds 1 twice"),
        ({"choice": [{"a": 1}]}, "name the mappings"),
        ({"uniform": [1, 0]}, "needs low < high"),
        ({"uniform": [1, 1]}, "needs low < high"),
        ({"uniform": [0]}, "two numbers"),
        ({"uniform": [0, "1"]}, "two numbers"),
        ({"uniform": [0, True]}, "two numbers"),
        ({"uniform": [0, 10**400]}, "two numbers"),
        ({"uniform": [0, 1], "step": 2}, "step"),
        ({"uniform": [0, 1], "step": 0}, "step"),
        ({"uniform": [0, 1], "log": True}, "expected only step beside `uniform`"),
        ({"uniform": [0, 1], "int": [0, 1]}, "exactly one of"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"loguniform": [1, 2], "step": 1}, "expected nothing beside `loguniform`"),
        ({"int": [0.5, 2]}, "whole numbers"),
        ({"int": [0, 2], "log": True}, "at least 1"),
        ({"int": [1, 9], "log": True, "step": 2}, "no step"),
        ({"int": [1, 9], "log": "yes"}, "true or false"),
        ({"int": [1, 9], "step": 20}, "larger than the range"),
        ({"int": [1, 9], "step": 1.5}, "whole number"),
    ],
)
def test_domains_that_make_no_sense_are_refused(raw, words):
    with pytest.raises(DomainError, match=words):
        read_domain(raw)


@pytest.mark.parametrize(
    ("domain", "outside"),
    [
        (Choice((0, 1)), (True, 2, "0", None)),
        (Uniform(0.0, 1.0), (1.5, -0.1, True, "0.5", None, math.nan)),
        (Uniform(0.0, 1.0, 0.25), (0.3,)),
        (LogUniform(1e-4, 1.0), (0.0, True, math.nan)),
        (Integer(2, 8, 2), (3, 10, 4.0, True)),
    ],
)
def test_values_outside(domain, outside):
    for value in outside:
        assert value not in domain


@given(st.integers(0, 2**32 - 1))
def test_log_draws_spread_over_the_decades(seed):
    rng = np.random.default_rng(seed)
    drawn = [LogUniform(1e-6, 1e-2).draw(rng) for _ in range(400)]
    assert 0.35 < np.mean([value < 1e-4 for value in drawn]) < 0.65
