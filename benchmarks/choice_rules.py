"""Rules by which a training's weights can be chosen, shipped and rejected ones, as functions of a recorded training."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.choice_tables import Candidate, Floats, Training
from carcls.scoring.choices import Kept, is_as_good, kept_epoch

Rule = Callable[[Training], Floats]
"""What the kept weights say of the holdout, (photos, classes)."""

TODAY = "best epoch by accuracy"
SHIPPED = "end of the last stage that is as good"


def _at(training: Training, chosen: Candidate) -> Floats:
    return training.holdout[chosen.epoch]


def _best_accuracy(training: Training) -> Floats:
    return _at(training, max(training.candidates, key=lambda one: one.rank))


def _best_log_loss(training: Training) -> Floats:
    return _at(training, min(training.candidates, key=lambda one: one.log_loss))


def _best_scaled(training: Training) -> Floats:
    return _at(training, min(training.candidates, key=lambda one: one.scaled.log_loss))


def _last(training: Training) -> Floats:
    return training.holdout[len(training.validation)]


def shipped_choice(candidates: Sequence[Candidate]) -> Candidate:
    """What a real training keeps, by the program's own comparison."""
    return candidates[kept_epoch([Kept(one.ends_stage, one.scaled.losses) for one in candidates]) - 1]


def _shipped(training: Training) -> Floats:
    return _at(training, shipped_choice(training.candidates))


def _latest_as_good(training: Training) -> Floats:
    ends = [one for one in training.candidates if one.ends_stage]
    best = min(ends, key=lambda one: one.scaled.log_loss)
    as_good = [one for one in ends if is_as_good(one.scaled.losses, best.scaled.losses)]
    return _at(training, as_good[-1])


def _best_end(training: Training) -> Floats:
    ends = [one for one in training.candidates if one.ends_stage]
    return _at(training, min(ends, key=lambda one: one.scaled.log_loss))


def _averaged(training: Training, *, name: str) -> Floats:
    kept, average = shipped_choice(training.candidates), training.average(name)
    is_kept = is_as_good(average.scaled.losses, kept.scaled.losses)
    return training.averages[name][1] if is_kept else _at(training, kept)


RULES: Mapping[str, Rule] = {
    TODAY: _best_accuracy,
    "best epoch by log-loss": _best_log_loss,
    "best epoch by scaled log-loss": _best_scaled,
    "last epoch": _last,
    "best end of a stage by scaled log-loss": _best_end,
    SHIPPED: _shipped,
    "latest end as good as the best": _latest_as_good,
    "EMA 0.96 where as good": partial(_averaged, name="ema-0.96"),
    "EMA 0.99 where as good": partial(_averaged, name="ema-0.99"),
    "last 3 epochs averaged where as good": partial(_averaged, name="last-3"),
    "last 5 epochs averaged where as good": partial(_averaged, name="last-5"),
}
"""From the simplest to the most elaborate, today's first."""
