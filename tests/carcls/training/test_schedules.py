import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from carcls.config import EarlyStoppingConfig, ScheduleConfig, StageConfig
from carcls.training.steps.schedules import plateau_factor, rates, stops_early

falling = (
    st.builds(
        ScheduleConfig,
        kind=st.sampled_from(["constant", "cosine"]),
        warmup_epochs=st.floats(0, 6),
        floor=st.floats(0, 1),
    )
    | st.builds(ScheduleConfig, kind=st.just("exponential"), warmup_epochs=st.floats(0, 6), floor=st.floats(1e-6, 1))
    | st.builds(ScheduleConfig, kind=st.just("plateau"), floor=st.floats(0, 1))
)
one_cycles = st.builds(
    ScheduleConfig,
    kind=st.just("one_cycle"),
    start=st.floats(1e-4, 1),
    peak_at=st.floats(0.01, 0.99),
    floor=st.floats(0, 1),
)


def stages_with(schedules):
    return st.builds(
        StageConfig,
        name=st.just("half"),
        unfreeze=st.just(0.5),
        epochs=st.integers(1, 12),
        learning_rate=st.floats(1e-8, 1.0),
        schedule=schedules,
    )


stages = stages_with(falling)


def stage(epochs: int = 4, **schedule) -> StageConfig:
    return StageConfig(
        name="half", unfreeze=0.5, epochs=epochs, learning_rate=0.1, schedule=ScheduleConfig.model_validate(schedule)
    )


@given(stages_with(falling | one_cycles), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_every_step_has_a_rate_above_zero_and_none_exceeds_the_peak(stage, steps):
    curve = rates(stage, steps)
    assert curve.shape == (stage.epochs * steps,)
    assert curve.dtype == np.float32
    assert (curve > 0).all()
    assert curve.max() <= np.float32(stage.learning_rate)


@given(stages, st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_the_curve_rises_through_the_warm_up_and_never_after(stage, steps):
    curve = rates(stage, steps)
    warmup = min(len(curve), round(stage.schedule.warmup_epochs * steps))
    assert (np.diff(curve[:warmup]) > 0).all()
    assert (np.diff(curve[warmup:]) <= 0).all()


@given(stages, st.integers(2, 50))
@settings(max_examples=200, deadline=None)
def test_a_cosine_ends_within_one_step_of_its_floor(stage, steps):
    stage = stage.model_copy(update={"schedule": ScheduleConfig(kind="cosine", floor=stage.schedule.floor)})
    curve, floor = rates(stage, steps), stage.learning_rate * stage.schedule.floor
    last_step = (stage.learning_rate - floor) * (np.pi / 2 / len(curve)) ** 2
    assert np.float32(floor) * (1 - 1e-6) <= curve[-1] <= (floor + last_step) * (1 + 1e-6)


@given(stages_with(one_cycles), st.integers(2, 50))
@settings(max_examples=200, deadline=None)
def test_one_cycle_rises_to_its_peak_and_falls_from_there(stage, steps):
    curve = rates(stage, steps)
    peak = round(len(curve) * stage.schedule.peak_at)
    assert (np.diff(curve[: peak + 1]) >= 0).all()
    assert (np.diff(curve[peak:]) <= 0).all()
    if 0 < peak < len(curve):
        np.testing.assert_allclose(curve[[0, peak]], stage.learning_rate * np.array([stage.schedule.start, 1.0]), 1e-5)


def test_one_cycle_and_exponential_by_hand():
    np.testing.assert_allclose(
        rates(stage(kind="one_cycle", start=0.5, peak_at=0.5, floor=0.2, epochs=2), 2), [0.05, 0.075, 0.1, 0.06], 1e-6
    )
    np.testing.assert_allclose(
        rates(stage(kind="exponential", floor=0.0625, warmup_epochs=1, epochs=3), 2),
        [0.05, 0.1, 0.1, 0.05, 0.025, 0.0125],
        rtol=1e-6,
    )


def test_curves_by_hand():
    np.testing.assert_allclose(
        rates(stage(2, kind="cosine", warmup_epochs=1), 2), [0.05, 0.1, 0.1, 0.05], rtol=1e-6
    )  # two steps up, then the cosine at 0 and at half
    np.testing.assert_allclose(rates(stage(3, kind="constant", warmup_epochs=1.5), 2), [1 / 30, 2 / 30] + 4 * [0.1])
    np.testing.assert_allclose(rates(stage(2, kind="plateau"), 2), 4 * [0.1])
    np.testing.assert_allclose(rates(stage(1, kind="constant", warmup_epochs=2), 2), [0.025, 0.05])


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, found 0"):
        rates(stage(), 0)


@pytest.mark.parametrize(
    ("log_losses", "factor"),
    [
        ([], 1.0),
        ([1.0, 0.9, 0.8], 1.0),
        ([1.0, 1.0], 1.0),
        ([1.0, 1.0, 1.1], 0.5),
        ([1.0, 1.0, 1.1, 0.9, 1.0], 0.5),
        ([1.0, 1.0, 1.1, 1.2, 1.2], 0.25),
        ([1.0] + 8 * [1.1], 0.1),
    ],
)
def test_plateau_halves_after_two_epochs_without_a_new_best_down_to_the_floor(log_losses, factor):
    schedule = ScheduleConfig(kind="plateau", factor=0.5, patience_epochs=2, floor=0.1)
    assert plateau_factor(schedule, log_losses) == factor


def test_other_schedules_have_no_plateau():
    assert plateau_factor(ScheduleConfig(kind="cosine"), 9 * [1.0]) == 1.0


@pytest.mark.parametrize(
    ("log_losses", "stops"),
    [
        ([], False),
        ([1.0, 0.9], False),
        ([1.0, 0.95], False),
        ([1.0, 0.95, 0.91], True),
        ([1.0, 0.95, 0.8], False),
        ([1.0, 0.8, 0.85, 0.85], True),
    ],
)
def test_early_stopping_wants_an_improvement_of_min_delta_within_its_patience(log_losses, stops):
    assert stops_early(EarlyStoppingConfig(patience_epochs=2, min_delta=0.1), log_losses) is stops
    assert stops_early(None, log_losses) is False


def test_drops_lower_a_plateaus_rate_whatever_the_losses_are():
    schedule = ScheduleConfig(kind="plateau", factor=0.5, floor=0.2, drops=(1, 3, 4))
    factors = [plateau_factor(schedule, [float("nan")] * epochs) for epochs in range(6)]
    assert factors == [1.0, 0.5, 0.5, 0.25, 0.2, 0.2]
    with pytest.raises(ValidationError, match="only for kind plateau"):
        ScheduleConfig(kind="cosine", drops=(1,))
