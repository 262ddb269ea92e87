import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.scoring.choices import scaled
from carcls.scoring.ensembles import Limits, choose_ensemble, rescaled
from carcls.scoring.gains import FEWEST_UNITS


def said(rng, labels, classes, *, right: float) -> np.ndarray:
    """Probabilities of a model whose logits favour the true class by `right` standard deviations."""
    logits = rng.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += right
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def choose(candidates, labels, *, models=5, cost=None, sum_cost=None, **more):
    limits = Limits(models, cost, sum_cost)
    return choose_ensemble(candidates, labels, limits=limits, confidence=0.9, seed=0, **more)


@settings(max_examples=40, deadline=None)
@given(
    photos=st.integers(2, 30),
    classes=st.integers(2, 5),
    count=st.integers(1, 6),
    limits=st.tuples(st.integers(1, 4), st.none() | st.floats(0.1, 3.0)),
    seed=st.integers(0, 999),
)
def test_it_is_never_worse_than_the_best_member_on_the_photos_that_chose_it(photos, classes, count, limits, seed):
    (models, sum_cost), rng = limits, np.random.default_rng(seed)
    labels = rng.integers(classes, size=photos)  # a class may be missing
    candidates = [said(rng, labels, classes, right=rng.uniform(0, 3)) for _ in range(count)]
    costs = rng.uniform(0.0, 1.0, count)
    found = choose(candidates, labels, models=models, cost=1.0, sum_cost=sum_cost, costs=costs)
    alone = [scaled(one, labels).log_loss for one in candidates]
    assert found.best == int(np.argmin(alone))
    assert found.best_log_loss == pytest.approx(min(alone), abs=1e-9)
    assert found.log_loss <= found.best_log_loss + 1e-12
    assert 1 <= len(found.weights) <= models
    limit = 1.0 if sum_cost is None or len(found.weights) == 1 else sum_cost
    assert sum(costs[number] for number, _ in found.weights) <= limit
    assert sum(count for _, count in found.weights) <= 25
    shares = np.array([count for _, count in found.weights], float)
    mean = np.average([candidates[number] for number, _ in found.weights], axis=0, weights=shares)
    assert scaled(mean, labels).log_loss == pytest.approx(found.log_loss, abs=1e-9)
    assert np.isfinite([found.fitted_log_loss, found.single_log_loss, *found.interval]).all()


def test_different_models_of_equal_quality_help_each_other():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=400)
    found = choose([said(rng, labels, 4, right=1.5) for _ in range(4)], labels)
    assert len(found.weights) > 1
    assert found.helps
    assert found.interval[0] > 0
    assert found.fitted_accuracy > found.single_accuracy + 0.05
    assert found.fitted_log_loss < found.single_log_loss - 0.1


def test_copies_of_one_model_do_not_help():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=200)
    model = said(rng, labels, 4, right=1.5)
    found = choose([model, model, model], labels)
    assert found.weights == ((0, 1),), "the earliest of equals, once"
    assert not found.helps
    assert found.fitted_log_loss == pytest.approx(found.single_log_loss)


def test_cross_fitting_finds_out_a_choice_among_noise():
    rng = np.random.default_rng(3)
    labels = rng.integers(4, size=60)
    found = choose([said(rng, labels, 4, right=0.0) for _ in range(30)], labels)
    assert found.log_loss < found.best_log_loss - 0.01
    assert found.fitted_log_loss > found.log_loss + 0.02
    assert not found.helps


def test_candidates_that_are_not_finite_or_cost_too_much_are_never_selected():
    rng = np.random.default_rng(5)
    labels = rng.integers(3, size=100)
    good = [said(rng, labels, 3, right=1.5) for _ in range(4)]
    broken = said(rng, labels, 3, right=5.0)
    broken[7] = np.nan
    found = choose([broken, *good], labels)
    assert 0 not in dict(found.weights)
    costs = [1.0, 4.0, 2.0, 2.0, float("nan")]
    best = said(rng, labels, 3, right=6.0)
    limited = choose([*good, best], labels, cost=5.0, costs=costs)
    assert 4 not in dict(limited.weights), "its cost is unknown"
    assert sum(costs[number] for number, _ in limited.weights) <= 5.0
    with pytest.raises(ValueError, match="no candidate may be selected"):
        choose([broken], labels)
    with pytest.raises(ValueError, match="costs too much"):
        choose(good, labels, cost=0.5, costs=costs[:4])


def test_a_limit_on_sums_alone_neither_hides_the_best_single_model_nor_forbids_cheap_ensembles():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=400)
    cheap, costs = [said(rng, labels, 4, right=1.0) for _ in range(2)], [9.0, 4.0, 4.0]
    best = said(rng, labels, 4, right=3.0)
    found = choose([best, *cheap], labels, cost=10.0, sum_cost=8.0, costs=costs)
    assert (found.best, found.weights, found.helps) == (0, ((0, 1),), False)
    assert found.single_log_loss == pytest.approx(found.fitted_log_loss)
    hidden = choose([best, *cheap], labels, cost=8.0, costs=costs)
    assert (hidden.best in {1, 2}, len(hidden.weights), hidden.helps) == (True, 2, True), "then they seem to help"
    little_better = said(rng, labels, 4, right=1.2)
    found = choose([little_better, *cheap], labels, cost=10.0, sum_cost=8.0, costs=costs)
    assert (found.best, sorted(number for number, _ in found.weights)) == (0, [1, 2])
    assert found.log_loss < found.best_log_loss


def test_one_photo_is_too_few_and_shapes_must_match():
    with pytest.raises(ValueError, match="2 photos or more"):
        choose([np.full((1, 2), 0.5)], np.array([0]))
    with pytest.raises(ValueError, match="as many as labels"):
        choose([np.full((3, 2), 0.5)], np.array([0, 1]))


@pytest.mark.parametrize("units", [FEWEST_UNITS - 1, FEWEST_UNITS])
def test_too_few_different_photos_are_no_evidence_however_often_they_are_there(units):
    # Each of three models is unsure of other photos, so that their mean is better on every photo.
    labels = np.arange(units) % 3
    candidates = []
    for model in range(3):
        sure = np.where(np.arange(units) % 3 == model, 0.35, 0.9)
        one = np.repeat((1.0 - sure)[:, None] / 2, 3, axis=1)
        one[np.arange(units), labels] = sure
        candidates.append(np.repeat(one, 2, axis=0))
    found = choose(candidates, np.repeat(labels, 2), units=np.repeat(np.arange(units), 2))
    assert found.interval[0] > 0
    assert found.fitted_accuracy == found.single_accuracy
    assert (found.units, found.helps) == (units, units >= FEWEST_UNITS)


def test_photos_that_look_alike_count_as_one():
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=20)
    candidates = [said(rng, labels, 4, right=1.5) for _ in range(4)]
    once = choose(candidates, labels)
    often = [np.repeat(one, 20, axis=0) for one in candidates]
    units = np.repeat(np.arange(20), 20)
    copied = choose(often, np.repeat(labels, 20), units=units)
    careless = choose(often, np.repeat(labels, 20))
    assert copied.interval == pytest.approx(once.interval, abs=0.02)
    assert careless.interval[1] - careless.interval[0] < 0.5 * (copied.interval[1] - copied.interval[0])


def test_a_temperature_changes_confidence_alone():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=50)
    one = said(rng, labels, 3, right=2.0)
    sharper = rescaled(one, 2.0)
    assert np.array_equal(sharper.argmax(axis=1), one.argmax(axis=1))
    assert np.allclose(sharper, one**2 / (one**2).sum(axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(rescaled(one.astype(np.float32), 1.0), one.astype(np.float32))
