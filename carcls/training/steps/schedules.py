"""Learning-rate schedules, and the two rules that depend on validation log-loss. Pure functions of plain values."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carcls.config import EarlyStoppingConfig, ScheduleConfig, StageConfig


def rates(stage: StageConfig, steps_per_epoch: int) -> NDArray[np.float32]:
    """Learning rates of all steps of a stage: shape (epochs * steps_per_epoch,), all above 0.

    Constant, cosine and exponential start with a linear warm-up whose first step is already above 0. Cosine (one cycle
    of Loshchilov & Hutter 2017), exponential and one_cycle would reach the floor one step after the last, so no step
    has a rate of 0. one_cycle (Smith & Topin 2018, 'Super-Convergence'; half cosines as in fastai) changes the rate
    only, not the momentum. Plateau is constant here; `plateau_factor` lowers it between epochs.
    """
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch must be at least 1, found {steps_per_epoch}")
    total = stage.epochs * steps_per_epoch
    schedule = stage.schedule
    if schedule.kind == "plateau":
        factors = np.ones(total)
    elif schedule.kind == "one_cycle":
        factors = _one_cycle(schedule, total)
    else:
        warmup = round(schedule.warmup_epochs * steps_per_epoch)
        rise = np.arange(1, warmup + 1)[:total] / max(warmup, 1)  # truncated if the stage ends during warm-up
        factors = np.concatenate([rise, _after_warmup(schedule, total - len(rise))])
    return (stage.learning_rate * factors).astype(np.float32)


def _after_warmup(schedule: ScheduleConfig, steps: int) -> NDArray[np.float64]:
    if schedule.kind == "constant":
        return np.ones(steps)
    progress = np.arange(steps) / max(steps, 1)
    if schedule.kind == "exponential":
        return schedule.floor**progress
    return _half_cosine(progress, 1.0, schedule.floor)


def _one_cycle(schedule: ScheduleConfig, steps: int) -> NDArray[np.float64]:
    peak = round(steps * schedule.peak_at)  # the step at which the rate peaks
    rise = np.arange(peak) / max(peak, 1)
    fall = np.arange(steps - peak) / max(steps - peak, 1)
    return np.concatenate([_half_cosine(rise, schedule.start, 1.0), _half_cosine(fall, 1.0, schedule.floor)])


def _half_cosine(progress: NDArray[np.float64], first: float, last: float) -> NDArray[np.float64]:
    return last + (first - last) * 0.5 * (1.0 + np.cos(np.pi * progress))


def plateau_factor(schedule: ScheduleConfig, log_losses: Sequence[float]) -> float:
    """Factor of the stage's learning rate after epochs with these validation log-losses; 1 for other kinds.

    As Keras's ReduceLROnPlateau without cooldown: every `patience_epochs` epochs without a new best multiply it by
    `factor`, down to `floor`. With `drops` the losses do not matter, only their number.
    """
    if schedule.kind != "plateau":
        return 1.0
    if schedule.drops is not None:
        dropped = sum(epoch <= len(log_losses) for epoch in schedule.drops)
        return max(schedule.floor, schedule.factor**dropped)
    factor, best, waited = 1.0, float("inf"), 0
    for loss in log_losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == schedule.patience_epochs:  # counting starts again after each reduction, as in Keras
            factor, waited = max(schedule.floor, factor * schedule.factor), 0
    return factor


def stops_early(rule: EarlyStoppingConfig | None, log_losses: Sequence[float]) -> bool:
    """True if none of a stage's last `patience_epochs` epochs improved its best log-loss by `min_delta`."""
    if rule is None:
        return False
    best, waited = float("inf"), 0
    for loss in log_losses:
        if loss < best - rule.min_delta:
            best, waited = loss, 0
        else:
            waited += 1
    return waited >= rule.patience_epochs
