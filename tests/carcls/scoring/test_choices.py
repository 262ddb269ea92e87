import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.scoring.choices import COLDEST, HOTTEST, Kept, is_as_good, kept_epoch, replaces, scaled, sharpness_of
from carcls.scoring.metrics import log_loss

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, *, photos: int = 40, classes: int = 4, sure: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Informative probabilities (photos, classes), and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=photos)
    logits = rng.normal(size=(photos, classes)) + sure * np.eye(classes)[labels]
    return softmax(logits), labels


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_scaling_finds_the_factor_with_the_smallest_loss():
    probabilities, labels = drawn(1)
    found = scaled(probabilities, labels)
    logs = np.log(probabilities)
    by_hand = {factor: log_loss(softmax(factor * logs), labels) for factor in np.linspace(0.1, 5.0, 2_000)}
    best = min(by_hand, key=by_hand.__getitem__)
    assert found.factor == pytest.approx(best, abs=0.005)
    assert found.log_loss == pytest.approx(by_hand[best], abs=1e-5)
    assert found.log_loss <= log_loss(probabilities, labels)


@settings(deadline=None)
@given(seed=SEEDS, power=st.floats(0.5, 2.0))
def test_raising_all_probabilities_to_a_power_changes_no_score(seed, power):
    probabilities, labels = drawn(seed)
    raised = softmax(power * np.log(probabilities))
    one, other = scaled(probabilities, labels), scaled(raised, labels)
    # Only if the best factor is inside the bounds; at a bound the power moves it outside.
    if min(one.factor, other.factor) > COLDEST * 1.01 and max(one.factor, other.factor) < HOTTEST / 1.01:
        np.testing.assert_allclose(one.losses, other.losses, atol=1e-6)


@settings(deadline=None)
@given(seeds=st.lists(SEEDS, min_size=2, max_size=6, unique=True), power=st.floats(0.5, 2.0))
def test_raising_to_a_power_changes_no_order(seeds, power):
    labels = drawn(0)[1]
    rng = [np.random.default_rng(seed) for seed in seeds]
    models = [softmax(one.normal(size=(40, 4)) + 1.5 * np.eye(4)[labels]) for one in rng]
    before = [scaled(model, labels).log_loss for model in models]
    after = [scaled(softmax(power * np.log(model)), labels).log_loss for model in models]
    assert (
        np.argsort(np.round(before, 6), kind="stable").tolist()
        == np.argsort(np.round(after, 6), kind="stable").tolist()
    )


def test_smoothed_and_sharp_models_that_know_the_same_are_equal():
    probabilities, labels = drawn(2)
    smoothed = softmax(0.6 * np.log(probabilities))
    assert log_loss(smoothed, labels) != pytest.approx(log_loss(probabilities, labels), abs=0.01)
    assert scaled(smoothed, labels).log_loss == pytest.approx(scaled(probabilities, labels).log_loss, abs=1e-6)


def test_the_factor_is_bounded():
    labels = np.array([0, 1])
    right = np.array([[0.6, 0.4], [0.4, 0.6]])
    assert scaled(right, labels).factor == pytest.approx(HOTTEST)
    assert scaled(right[::-1], labels).factor == pytest.approx(COLDEST)
    assert np.isfinite(scaled(np.eye(2)[::-1], labels).losses).all()


@given(st.integers(1, 400), st.integers(2, 9), st.floats(0.6, 0.9))
def test_photos_that_are_all_right_make_a_model_as_sure_as_their_number_allows(count, classes, sure):
    said, labels = np.full((count, classes), (1.0 - sure) / (classes - 1)), np.arange(count) % classes
    said[np.arange(count), labels] = sure
    factor = sharpness_of(said, labels)
    raised = said**factor
    sharpened = raised[np.arange(count), labels] / raised.sum(axis=1)
    allowed = 1.0 - (1.0 - 1.0 / classes) / (count + 1)
    if factor < 0.999 * HOTTEST:
        assert sharpened == pytest.approx(allowed, abs=1e-6)
    else:
        assert sharpened.max() <= allowed + 1e-6


def test_many_photos_say_how_sure_a_model_may_be():
    rng = np.random.default_rng(0)
    said = rng.dirichlet([1.0, 1.0, 1.0], 4000)
    labels = np.array([rng.choice(3, p=one**2 / (one**2).sum()) for one in said])
    assert sharpness_of(said, labels) == pytest.approx(scaled(said, labels).factor, rel=0.02)
    assert sharpness_of(said, labels) == pytest.approx(2.0, rel=0.1)
    said[0, 0] = np.nan
    assert sharpness_of(said, labels) == 1.0


def test_non_finite_probabilities_have_no_score_and_never_win():
    probabilities, labels = drawn(3)
    broken = probabilities.copy()
    broken[7, 0] = np.nan
    assert np.isnan(scaled(broken, labels).log_loss)
    good = scaled(probabilities, labels).losses
    assert not is_as_good(scaled(broken, labels).losses, good)
    assert is_as_good(good, scaled(broken, labels).losses)


def test_worse_within_one_standard_error_is_as_good_and_beyond_it_is_not():
    earlier = np.zeros(400)
    later = np.tile([1.0, -1.0], 200)  # standard error of the mean 0.05006
    assert is_as_good(later + 0.05, earlier)
    assert not is_as_good(later + 0.051, earlier)
    assert is_as_good(earlier, earlier)
    assert not is_as_good(earlier + 1e-9, earlier), "without any noise the smallest loss counts"


@pytest.mark.parametrize(("later", "expected"), [(0.1, True), (0.2, True), (0.3, False)])
def test_one_photo_is_compared_without_noise(later, expected):
    assert is_as_good(np.array([later]), np.array([0.2])) is expected


def test_two_photos_are_enough_for_noise_and_what_they_allow_is_bounded():
    assert is_as_good(np.array([1.0, 0.1]), np.array([0.2, 0.8]))
    assert not is_as_good(np.array([1.0, 0.3]), np.array([0.2, 0.8])), "0.15 worse, with a standard error of 0.65"


def kept(*epochs: tuple[bool, float]) -> list[Kept]:
    """Noise-free weights from (ends a stage, constant loss)."""
    return [Kept(ends_stage, np.full(10, loss)) for ends_stage, loss in epochs]


def test_the_last_stage_end_that_is_no_worse_is_kept():
    assert kept_epoch(kept((False, 3.0), (True, 2.0), (False, 0.5), (True, 1.0), (False, 0.1), (True, 1.5))) == 4
    assert kept_epoch(kept((True, 2.0), (True, 2.0), (True, 2.0))) == 3, "of equals the more annealed"


def test_before_a_stage_has_ended_the_latest_epoch_is_kept():
    assert kept_epoch(kept((False, 1.0))) == 1
    assert kept_epoch(kept((False, 1.0), (False, 2.0))) == 2
    assert kept_epoch(kept((False, 1.0), (True, 2.0))) == 2


def test_an_epoch_within_a_later_stage_never_replaces_an_end():
    within, end = kept((False, 0.0), (True, 9.0))
    assert not replaces(within, end)


@settings(deadline=None)
@given(seed=SEEDS, epochs=st.integers(1, 12))
def test_epochs_replayed_one_by_one_keep_what_all_of_them_keep(seed, epochs):
    rng = np.random.default_rng(seed)
    all_of_them = [Kept(bool(rng.random() < 0.4), rng.normal(size=12)) for _ in range(epochs)]
    so_far = all_of_them[0]
    for one in all_of_them[1:]:
        so_far = one if replaces(one, so_far) else so_far
    assert all_of_them[kept_epoch(all_of_them) - 1] is so_far
