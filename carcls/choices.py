"""How weights, and trainings, are compared: by a proper score that label smoothing does not decide. Pure functions.

The score is the log-loss after temperature scaling (Guo et al. 2017, 'On Calibration of Modern Neural Networks'): all
log-probabilities are multiplied by the one factor that fits the labels best, so that only what a model knows counts and
not how sure it says it is. Photos are the same on both sides of each comparison, so that differences are paired.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls import metrics
from carcls.metrics import SMALLEST_PROBABILITY

Floats = NDArray[np.float64]

COLDEST, HOTTEST = 0.1, 10.0
"""Bounds of the factor on log-probabilities: a few photos that are all right, or all wrong, would ask for infinity."""
_STEPS = 40
"""Halvings of the interval of its logarithm: 4.6 / 2**40 is below float64's noise in the losses."""
NOISE = 1.0
"""Standard errors by which a later stage may be worse and still be taken for as good."""


@dataclass(frozen=True, eq=False, slots=True)
class Scaled:
    """Probabilities of n photos after temperature scaling."""

    losses: Floats
    """(n,) -log p of each photo's true class, in nats."""
    factor: float
    """On the log-probabilities: below 1 the model was too sure, above 1 not sure enough."""

    @property
    def log_loss(self) -> float:
        """Mean of the losses; NaN where a probability was not finite."""
        return float(self.losses.mean())


def scaled(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Scaled:
    """Softmax outputs (n, classes) of photos labelled (n,), n > 0, with the factor that fits these labels best.

    Losses of NaN where a probability is not finite. The loss is convex in the factor, so that the fit is unique.
    """
    if not np.isfinite(probabilities).all():
        return Scaled(np.full(len(labels), np.nan), 1.0)
    logs = np.log(np.clip(probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1.0))
    factor = _best_factor(logs, labels)
    return Scaled(_losses(logs * factor, labels), factor)


def is_as_good(later: Floats, earlier: Floats, *, noise: float = NOISE) -> bool:
    """True where losses (n,) are not worse than others of the same photos by more than `noise` standard errors.

    The standard error is that of the mean difference. NaN is never as good; anything is as good as NaN.
    """
    if np.isnan(later).any():
        return False
    if np.isnan(earlier).any():
        return True
    difference = later - earlier
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return bool(difference.mean() <= noise * error)


def _best_factor(logs: Floats, labels: NDArray[np.integer]) -> float:
    """Where the derivative of the mean loss changes its sign, or the bound beyond which it does."""
    true_logs = logs[np.arange(len(labels)), labels].mean()
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        weights = _softmax(logs * np.exp(middle))
        rises = (weights * logs).sum(axis=1).mean() > true_logs
        low, high = (low, middle) if rises else (middle, high)
    return float(np.exp((low + high) / 2.0))


def _losses(logits: Floats, labels: NDArray[np.integer]) -> Floats:
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return total - logits[np.arange(len(labels)), labels]


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """The weights after one epoch, by what they say of the validation photos."""

    epoch: int
    """Counted from 1, over all stages."""
    ends_stage: bool
    accuracy: float
    log_loss: float
    scaled: Scaled

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts from worse to better by accuracy, ties by log-loss: how weights of older studies are chosen."""
        return (self.accuracy, -self.log_loss)


def candidate(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, epoch: int, ends_stage: bool
) -> Candidate:
    """Of softmax outputs (n, classes) for validation photos labelled (n,)."""
    return Candidate(
        epoch=epoch,
        ends_stage=ends_stage,
        accuracy=metrics.accuracy(probabilities, labels),
        log_loss=metrics.log_loss(probabilities, labels),
        scaled=scaled(probabilities, labels),
    )


def replaces(later: Candidate, kept: Candidate) -> bool:
    """Whether later weights of a training take the place of those kept so far.

    The ends of stages are compared, since a stage's schedule anneals towards its end: a later one is kept unless it is
    worse beyond noise. Within the first stage the latest epoch is kept, since none has ended.
    """
    if not later.ends_stage:
        return not kept.ends_stage
    return not kept.ends_stage or is_as_good(later.scaled.losses, kept.scaled.losses)
