import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.inference.tta import PLAIN, average
from carcls.inference.view_choice import _forward, choose_views
from carcls.inference.view_priors import ViewPrior
from carcls.scoring.gains import Normal


def _softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


def _predictions(labels, noise, rng, classes=4, signal=2.0):
    """Right on average; `noise` is the spread of each view's own error in logits."""
    return _softmax(signal * np.eye(classes)[labels] + rng.normal(0, noise, (len(labels), classes)))


def test_equal_views_are_not_worth_their_time(rng):
    labels = rng.integers(0, 4, 60)
    same = _predictions(labels, 1.0, rng)
    choice = choose_views({PLAIN: same, "flip": same, "zoom": same}, labels, confidence=0.9, seed=0)
    assert choice.views == (PLAIN,)
    assert not choice.helps
    assert choice.interval == (0.0, 0.0)
    assert choice.tta_log_loss == choice.plain_log_loss


def test_views_with_independent_errors_help(rng):
    labels = rng.integers(0, 4, 400)
    by_view = {view: _predictions(labels, 1.5, rng) for view in (PLAIN, "flip", "zoom")}
    choice = choose_views(by_view, labels, confidence=0.9, seed=0)
    assert choice.helps
    assert choice.views[0] == PLAIN
    assert set(choice.views) == {PLAIN, "flip", "zoom"}
    assert choice.interval[0] > 0.05
    assert choice.tta_log_loss < choice.plain_log_loss
    assert choice.tta_accuracy > choice.plain_accuracy
    low, high = choice.interval
    assert low < choice.plain_log_loss - choice.tta_log_loss < high


def test_a_hurting_view_is_refused(rng):
    labels = rng.integers(0, 4, 400)
    by_view = {PLAIN: _predictions(labels, 0.2, rng), "rot90": _softmax(rng.normal(0, 3, (400, 4)))}
    choice = choose_views(by_view, labels, confidence=0.9, seed=0)
    assert (choice.views, choice.helps) == ((PLAIN,), False)


def test_luck_on_few_photos_is_not_evidence():
    """Twelve views of plain plus noise: the best few look good on the photos they were chosen on, and only there."""
    refused = fooled = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 80)
        plain = _predictions(labels, 1.0, rng)
        noise = {f"v{i}": _softmax(np.log(plain) + rng.normal(0, 0.5, plain.shape)) for i in range(12)}
        by_view = {PLAIN: plain, **noise}
        fooled += len(_forward(by_view, (PLAIN,), [view for view in by_view if view != PLAIN], labels)) > 1
        refused += not choose_views(by_view, labels, confidence=0.9, seed=seed).helps
    assert fooled >= 7, "choosing and testing on the same photos would have been fooled"
    assert refused >= 9


def test_log_loss_bought_with_accuracy_is_refused():
    """Every tenth photo is lost by a hair and the rest gain: log-loss improves, the contest's score does not."""
    labels = np.zeros(200, np.int64)
    plain = np.tile(np.array([[0.51, 0.49]], np.float32), (200, 1))
    other = np.tile(np.array([[0.9, 0.1]], np.float32), (200, 1))
    other[::10] = [0.4, 0.6]
    choice = choose_views({PLAIN: plain, "flip": other}, labels, confidence=0.9, seed=0)
    assert choice.interval[0] > 0
    assert choice.tta_accuracy < choice.plain_accuracy
    assert (choice.views, choice.helps) == ((PLAIN,), False)


def test_a_choice_is_a_pure_function_of_its_arguments(rng):
    labels = rng.integers(0, 4, 50)
    by_view = {view: _predictions(labels, 1.0, rng) for view in (PLAIN, "flip")}
    first = choose_views(by_view, labels, confidence=0.9, seed=3)
    assert choose_views(by_view, labels, confidence=0.9, seed=3) == first
    assert choose_views(by_view, labels, confidence=0.9, seed=4).interval != first.interval
    assert choose_views(by_view, labels, confidence=0.5, seed=3).interval[0] > first.interval[0]


def test_greedy_takes_the_best_view_first_and_stops_when_none_helps():
    labels = np.array([0, 0])
    by_view = {
        PLAIN: np.array([[0.6, 0.4], [0.6, 0.4]]),
        "good": np.array([[0.8, 0.2], [0.8, 0.2]]),
        "better": np.array([[0.9, 0.1], [0.9, 0.1]]),
        "bad": np.array([[0.1, 0.9], [0.1, 0.9]]),
    }
    assert _forward(by_view, (PLAIN,), [view for view in by_view if view != PLAIN], labels) == (PLAIN, "better", "good")


def test_a_sure_mistake_has_a_finite_cost():
    probabilities = np.array([[1.0, 0.0]] * 10, np.float32)
    choice = choose_views({PLAIN: probabilities}, np.array([0, 1] * 5), confidence=0.9, seed=0)
    assert choice.plain_log_loss == pytest.approx(-np.log(1e-7) / 2)
    assert choice.plain_accuracy == 0.5


@pytest.mark.parametrize(
    ("by_view", "labels", "confidence", "message"),
    [
        ({"flip": np.ones((3, 2))}, np.zeros(3, int), 0.9, "needs the 'plain' view, found flip"),
        ({PLAIN: np.ones((3, 2))}, np.zeros(3, int), 1.0, "confidence: expected a number between 0 and 1"),
        ({PLAIN: np.ones((1, 2))}, np.zeros(1, int), 0.9, "at least 2 photos, found 1"),
        ({PLAIN: np.ones((3, 2)), "flip": np.ones((2, 2))}, np.zeros(3, int), 0.9, r"expected shape \(3, 2\)"),
    ],
)
def test_arguments_that_do_not_match_are_refused(by_view, labels, confidence, message):
    with pytest.raises(ValueError, match=message):
        choose_views(by_view, labels, confidence=confidence, seed=0)


FLIP, ZOOM, BOTH = (PLAIN, "flip"), (PLAIN, "zoom"), (PLAIN, "flip", "zoom")


def _prior(mean: float, sd: float = 0.01) -> ViewPrior:
    return ViewPrior(Normal(mean, sd), models=8, data_sets=2)


PRIORS = {FLIP: _prior(0.01), ZOOM: _prior(-0.02), BOTH: _prior(0.005)}


def _choose(by_view, labels, priors=PRIORS, **changed):
    return choose_views(by_view, labels, **{"confidence": 0.9, "seed": 0, "priors": priors} | changed)


def _alike(labels, rng, spread=0.0):
    """Three views that say the same of each photo, up to noise of their own."""
    logits = 2.0 * np.eye(4)[labels] + rng.normal(0, 1.0, (len(labels), 4))
    return {view: _softmax(logits + rng.normal(0, spread, logits.shape)) for view in (PLAIN, "flip", "zoom")}


def test_on_few_photos_the_prior_decides(rng):
    labels = rng.integers(0, 4, 8)
    by_view = _alike(labels, rng, spread=0.3)
    assert _choose(by_view, labels).views == FLIP
    refusing = {views: _prior(-0.01) for views in PRIORS}
    assert _choose(by_view, labels, refusing).views == (PLAIN,)
    evidence = _choose(by_view, labels).evidence
    assert evidence.measured_error is None
    assert (evidence.posterior, evidence.posterior_sd) == (evidence.prior, evidence.prior_sd) == (0.01, 0.01)


def test_on_many_photos_the_photos_decide(rng):
    labels = rng.integers(0, 4, 4000)
    helping = {view: _predictions(labels, 1.5, rng) for view in (PLAIN, "flip", "zoom")}
    assert _choose(helping, labels, {views: _prior(-0.01) for views in PRIORS}).views == BOTH
    hurting = {PLAIN: _predictions(labels, 0.5, rng), "flip": _softmax(rng.normal(0, 3, (4000, 4)))}
    assert _choose(hurting, labels, {FLIP: _prior(0.02)}).views == (PLAIN,)


def test_views_that_say_the_same_are_refused_whatever_the_prior_is(rng):
    labels = rng.integers(0, 4, 60)
    choice = _choose(_alike(labels, rng), labels)
    assert (choice.views, choice.helps, choice.interval) == ((PLAIN,), False, (0.0, 0.0))


def test_of_equal_sets_the_smallest_is_taken(rng):
    labels = rng.integers(0, 4, 5)
    by_view = _alike(labels, rng, spread=0.3)
    assert _choose(by_view, labels, {BOTH: _prior(0.01), ZOOM: _prior(0.01)}).views == ZOOM


def test_a_loss_of_accuracy_beyond_noise_is_refused_whatever_the_prior_is():
    labels = np.zeros(200, np.int64)
    by_view = {PLAIN: np.tile(np.array([[0.51, 0.49]]), (200, 1)), "flip": np.tile(np.array([[0.9, 0.1]]), (200, 1))}
    by_view["flip"][::10] = [0.4, 0.6]
    assert _choose(by_view, labels, {FLIP: _prior(0.5, 10.0)}).views == (PLAIN,)


@settings(max_examples=25, deadline=None)
@given(st.permutations([PLAIN, "flip", "zoom"]), st.permutations(list(PRIORS)), st.integers(0, 50))
def test_no_order_decides(views, sets, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 40)
    by_view = _alike(labels, rng, spread=0.5)
    expected = _choose(by_view, labels)
    assert _choose({view: by_view[view] for view in views}, labels, {some: PRIORS[some] for some in sets}) == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.floats(-0.03, 0.03))
def test_an_order_of_photos_changes_no_choice(seed, mean):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 40)
    by_view = _alike(labels, rng, spread=0.5)
    del by_view["zoom"]  # without a prior it would be judged on random parts of the photos
    order = rng.permutation(40)
    priors = {FLIP: _prior(mean)}
    mixed = _choose({view: said[order] for view, said in by_view.items()}, labels[order], priors)
    expected = _choose(by_view, labels, priors)
    assert mixed.views == expected.views
    assert mixed.evidence.posterior == pytest.approx(expected.evidence.posterior, abs=1e-9)


def test_a_better_prior_never_makes_a_set_less_likely_to_be_used(rng):
    labels = rng.integers(0, 4, 108)
    by_view = _alike(labels, rng, spread=0.5)
    used = [_choose(by_view, labels, {FLIP: _prior(mean)}).helps for mean in np.linspace(-0.2, 0.2, 21)]
    assert used == sorted(used)
    assert used[0] != used[-1]


def test_a_set_with_a_value_that_is_not_finite_is_never_taken(rng):
    labels = rng.integers(0, 4, 60)
    by_view = _alike(labels, rng, spread=0.3)
    by_view["flip"] = by_view["flip"].copy()
    by_view["flip"][7] = np.nan
    choice = _choose(by_view, labels, {FLIP: _prior(0.5), BOTH: _prior(0.5), ZOOM: _prior(0.1)})
    assert choice.views == ZOOM
    assert _choose(by_view, labels, {FLIP: _prior(0.5)}).views == (PLAIN,)


def test_a_view_without_a_prior_needs_evidence_of_its_own(rng):
    labels = rng.integers(0, 4, 400)
    by_view = {view: _predictions(labels, 1.5, rng) for view in (PLAIN, "flip", "brighter")}
    assert set(_choose(by_view, labels, {FLIP: _prior(0.01)}).views) == {PLAIN, "flip", "brighter"}
    by_view["brighter"] = _softmax(np.log(average(by_view, FLIP)) + rng.normal(0, 0.3, (400, 4)))
    assert _choose(by_view, labels, {FLIP: _prior(0.01)}).views == FLIP


def test_copies_of_a_photo_count_as_one(rng):
    labels = rng.integers(0, 4, 40)
    by_view = _alike(labels, rng, spread=0.5)
    once = _choose(by_view, labels, {FLIP: _prior(0.0, 0.05)})
    copied = {view: np.repeat(said, 4, axis=0) for view, said in by_view.items()}
    units = np.repeat(np.arange(40), 4)
    together = _choose(copied, np.repeat(labels, 4), {FLIP: _prior(0.0, 0.05)}, units=units)
    assert together.views == once.views
    assert together.evidence.posterior == pytest.approx(once.evidence.posterior)
    assert together.evidence.posterior_sd == pytest.approx(once.evidence.posterior_sd)


def test_photos_that_all_look_alike_leave_the_choice_to_the_prior(rng):
    labels = rng.integers(0, 4, 30)
    by_view = _alike(labels, rng, spread=0.5) | {"brighter": _predictions(labels, 0.1, rng)}
    choice = _choose(by_view, labels, units=np.zeros(30, int))
    assert choice.views == FLIP
    assert choice.evidence.measured_error is None


def test_what_is_told_of_the_views_in_use(rng):
    labels = rng.integers(0, 4, 400)
    by_view = {view: _predictions(labels, 1.5, rng) for view in (PLAIN, "flip")}
    choice = _choose(by_view, labels, {FLIP: _prior(0.01)})
    evidence = choice.evidence
    assert evidence.views == choice.views == FLIP
    assert choice.accuracy == choice.tta_accuracy
    assert evidence.prior < evidence.posterior < evidence.measured
    assert evidence.posterior_sd < min(evidence.prior_sd, evidence.measured_error)
    assert evidence.probability > 0.99
    assert evidence.line().startswith(f"plain, flip: save {evidence.measured:+.4f} ± ")
    assert "by 8 recorded models of 2 data sets" in evidence.line()
