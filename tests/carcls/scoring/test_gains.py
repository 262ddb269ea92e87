from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.scoring.gains import FEWEST_UNITS, Normal, mean_gain, updated

MEANS = st.floats(-1.0, 1.0)
SDS = st.floats(1e-3, 1.0)


@given(MEANS, SDS, MEANS)
def test_without_data_the_prior_stays(mean, sd, measured):
    assert updated(Normal(mean, sd), Normal(measured, inf)) == Normal(mean, sd)


@given(MEANS, SDS, MEANS)
def test_endless_data_replace_the_prior(mean, sd, measured):
    found = updated(Normal(mean, sd), Normal(measured, 0.0))
    assert (found.mean, found.sd) == (pytest.approx(measured), 0.0)


@given(MEANS, SDS, MEANS, SDS, st.floats(0.01, 100.0))
def test_units_of_measurement_do_not_matter(mean, sd, measured, error, factor):
    found = updated(Normal(mean, sd), Normal(measured, error))
    scaled = updated(Normal(factor * mean, factor * sd), Normal(factor * measured, factor * error))
    assert scaled.mean == pytest.approx(factor * found.mean, abs=1e-9)
    assert scaled.sd == pytest.approx(factor * found.sd)


@given(MEANS, SDS, MEANS, SDS)
def test_the_posterior_lies_between_and_is_surer_than_either(mean, sd, measured, error):
    found = updated(Normal(mean, sd), Normal(measured, error))
    assert min(mean, measured) - 1e-12 <= found.mean <= max(mean, measured) + 1e-12
    assert found.sd <= min(sd, error) + 1e-12
    assert found.mean == pytest.approx((mean / sd**2 + measured / error**2) / (1 / sd**2 + 1 / error**2), abs=1e-9)


def test_a_prior_that_leaves_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="above 0, found 0"):
        updated(Normal(0.0, 0.0), Normal(0.1, 0.1))


def test_the_standard_error_of_single_photos_is_the_usual_one():
    differences = np.random.default_rng(0).normal(0.1, 1.0, 50)
    found = mean_gain(differences, np.arange(50))
    assert found.mean == pytest.approx(differences.mean())
    assert found.sd == pytest.approx(differences.std(ddof=1) / sqrt(50))


def test_copies_add_nothing_to_the_evidence():
    differences = np.random.default_rng(0).normal(0.1, 1.0, 50)
    once = mean_gain(differences, np.arange(50))
    thrice = mean_gain(np.repeat(differences, 3), np.repeat(np.arange(50), 3))
    assert (thrice.mean, thrice.sd) == (pytest.approx(once.mean), pytest.approx(once.sd))


def test_too_few_photos_cannot_tell_their_error():
    assert mean_gain(np.zeros(0), np.zeros(0, int)) == Normal(0.0, inf)
    assert mean_gain(np.ones(1), np.zeros(1, int)) == Normal(1.0, inf)
    few = FEWEST_UNITS - 1
    assert mean_gain(np.ones(few), np.arange(few)).sd == inf
    assert mean_gain(np.ones(FEWEST_UNITS), np.arange(FEWEST_UNITS)) == Normal(1.0, 0.0)


def test_a_difference_that_is_no_number_spoils_the_mean():
    assert np.isnan(mean_gain(np.array([nan] + [0.0] * 19), np.arange(20)).mean)


@given(MEANS, SDS)
def test_probabilities_are_of_a_gain_above_zero(mean, sd):
    found = Normal(mean, sd).probability
    assert found == pytest.approx(1.0 - Normal(-mean, sd).probability)
    assert (found > 0.5) == (mean > 0) or abs(found - 0.5) < 1e-9
    assert (Normal(mean, 0.0).probability, Normal(mean, inf).probability) == (float(mean > 0), 0.5)
