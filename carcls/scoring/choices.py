"""How weights, and trainings, are compared: by a proper score that label smoothing does not decide. Pure functions.

The score is the log-loss after temperature scaling (Guo et al. 2017, 'On Calibration of Modern Neural Networks'): all
log-probabilities are multiplied by the one factor that fits the labels best, so that only what a model knows counts and
not how sure it says it is. Photos are the same on both sides of each comparison, so that differences are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.metrics import SMALLEST_PROBABILITY

Floats = NDArray[np.float64]

COLDEST, HOTTEST = 0.1, 10.0
"""Bounds of the factor on log-probabilities: a few photos that are all right, or all wrong, would ask for infinity."""
_STEPS = 40
"""Halvings of the interval of its logarithm: 4.6 / 2**40 is below float64's noise in the losses."""
NOISE = 1.0
"""Standard errors by which a later stage may be worse and still be taken for as good."""
MOST_NOISE = 0.1
"""Nats by which it may be worse at most. The noise of a dozen photos would cover the ruin of a model."""


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

    The standard error is that of the mean difference, and at most MOST_NOISE is allowed. NaN is never as good; anything
    is as good as NaN.
    """
    return bool(_are_as_good(later, earlier, noise))


def _are_as_good(later: Floats, earlier: Floats, noise: float = NOISE) -> NDArray[np.bool_]:
    """The same for each of some samples of the photos: losses (..., n) -> (...)."""
    difference = later - earlier
    count = difference.shape[-1]
    error = difference.std(axis=-1, ddof=1) / np.sqrt(count) if count > 1 else 0.0
    # NaN in either makes the mean NaN, which is never below the bound.
    is_as_good = difference.mean(axis=-1) <= np.minimum(noise * error, MOST_NOISE)
    return ~np.isnan(later).any(axis=-1) & (is_as_good | np.isnan(earlier).any(axis=-1))


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
class Kept:
    """Weights of a training, as far as it matters for whether others take their place."""

    ends_stage: bool
    losses: Floats
    """(n,) scaled, of each validation photo; (samples, n) of samples of these photos."""


def replaces(later: Kept, earlier: Kept) -> bool:
    """Whether later weights of a training take the place of the earlier ones that were kept so far.

    The ends of stages are compared, since a stage's schedule anneals towards its end: a later one is kept unless it is
    worse beyond noise. Within the first stage the latest epoch is kept, since none has ended.
    """
    return bool(_replace(later, earlier))


def _replace(later: Kept, earlier: Kept) -> NDArray[np.bool_]:
    """The same for each sample of the photos: losses (..., n) -> (...)."""
    if later.ends_stage and earlier.ends_stage:
        return _are_as_good(later.losses, earlier.losses)
    return np.full(later.losses.shape[:-1], not earlier.ends_stage)


def kept_epoch(epochs: Sequence[Kept]) -> int:
    """Number, counted from 1, of the epoch whose weights a training keeps in the end, from all its epochs in order."""
    return int(kept_epochs(epochs, np.arange(len(epochs[0].losses))[None])[0])


def kept_epochs(epochs: Sequence[Kept], samples: NDArray[np.integer]) -> NDArray[np.int64]:
    """The same on each of some samples of the photos: rows (samples, m) -> (samples,)."""
    kept = np.zeros(len(samples), np.int64)
    best = Kept(epochs[0].ends_stage, epochs[0].losses[samples])
    for place, epoch in enumerate(epochs[1:], start=1):
        later = Kept(epoch.ends_stage, epoch.losses[samples])
        replaced = _replace(later, best)
        kept = np.where(replaced, place, kept)
        # The end of a stage is only ever replaced by another, in all samples alike.
        ends_stage = later.ends_stage or best.ends_stage
        best = Kept(ends_stage, np.where(replaced[:, None], later.losses, best.losses))
    return kept + 1
