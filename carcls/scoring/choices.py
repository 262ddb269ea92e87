"""Compares weights and trainings by a proper score that label smoothing does not distort. Pure functions.

The score is the log-loss after temperature scaling (Guo et al. 2017, 'On Calibration of Modern Neural Networks'): all
log-probabilities are multiplied by the single factor that fits the labels best, so the score measures discrimination,
not confidence. Both sides of a comparison are scored on the same photos, so differences are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.metrics import SMALLEST_PROBABILITY

Floats = NDArray[np.float64]

COLDEST, HOTTEST = 0.1, 10.0
"""Bounds of the factor on log-probabilities. It would be infinite if all photos were right, or all wrong."""
_STEPS = 40
"""Bisection steps on the factor's logarithm: 4.6 / 2**40 is below the rounding error of the losses."""
NOISE = 1.0
"""Standard errors by which a later stage may be worse and still count as equally good."""
MOST_NOISE = 0.1
"""Upper bound of that tolerance in nats. With a dozen photos the standard error alone would accept a ruined model."""


@dataclass(frozen=True, eq=False, slots=True)
class Scaled:
    """Probabilities of n photos after temperature scaling."""

    losses: Floats
    """(n,) -log p of each photo's true class, in nats."""
    factor: float
    """Multiplies the log-probabilities: below 1 the model was overconfident, above 1 underconfident."""

    @property
    def log_loss(self) -> float:
        """Mean of the losses; NaN if a probability was not finite."""
        return float(self.losses.mean())


def scaled(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Scaled:
    """Scales softmax outputs (n, classes) by the factor that fits the labels (n,) best; n > 0.

    All losses are NaN if a probability is not finite. The loss is convex in the factor, so the fit is unique.
    """
    if not np.isfinite(probabilities).all():
        return Scaled(np.full(len(labels), np.nan), 1.0)
    logs = np.log(np.clip(probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1.0))
    factor = _best_factor(logs, labels)
    return Scaled(_losses(logs * factor, labels), factor)


def sharpness_of(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """What multiplies the log-probabilities (n, classes) of an exported model, from photos that it has not seen; n > 0.

    The factor of `scaled`, but a share of 1 / (n + 1) of each photo counts as if its label were unknown, so that a few
    photos that are all right do not make a model certain. 1 if a probability is not finite.
    """
    if not np.isfinite(probabilities).all():
        return 1.0
    logs = np.log(np.clip(probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1.0))
    return _best_factor(logs, labels, unknown=1.0 / (len(labels) + 1))


def is_as_good(later: Floats, earlier: Floats, *, noise: float = NOISE) -> bool:
    """True if losses (n,) are at most `noise` standard errors worse than earlier losses of the same photos.

    The standard error is that of the mean paired difference; the tolerance is capped at MOST_NOISE. NaN losses are
    never as good, and anything else is as good as NaN.
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


def _best_factor(logs: Floats, labels: NDArray[np.integer], *, unknown: float = 0.0) -> float:
    """Root of the mean loss's derivative by bisection, or the bound if the root is outside. unknown: share of each
    photo that counts for all classes alike."""
    # d loss / d factor = mean over photos of (expected log p under the scaled model) - (log p of the true class)
    true_logs = (1.0 - unknown) * logs[np.arange(len(labels)), labels].mean() + unknown * logs.mean()
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        weights = _softmax(logs * np.exp(middle))
        rises = (weights * logs).sum(axis=1).mean() > true_logs
        low, high = (low, middle) if rises else (middle, high)
    return float(np.exp((low + high) / 2.0))


def _losses(logits: Floats, labels: NDArray[np.integer]) -> Floats:
    highest = logits.max(axis=1, keepdims=True)  # avoids overflow in exp
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return total - logits[np.arange(len(labels)), labels]


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """What must be known of weights that were kept to decide whether later ones replace them."""

    ends_stage: bool
    losses: Floats
    """(n,) scaled, of each validation photo; (samples, n) of samples of these photos."""


def replaces(later: Kept, earlier: Kept) -> bool:
    """Whether later weights of a training run replace the earlier ones that were kept so far.

    Only ends of stages compete, since a stage's schedule anneals towards its end: a later end wins unless it is worse
    by more than noise. Until the first stage has ended, the latest epoch is kept.
    """
    return bool(_replace(later, earlier))


def _replace(later: Kept, earlier: Kept) -> NDArray[np.bool_]:
    """The same for each sample of the photos: losses (..., n) -> (...)."""
    if later.ends_stage and earlier.ends_stage:
        return _are_as_good(later.losses, earlier.losses)
    return np.full(later.losses.shape[:-1], not earlier.ends_stage)


def kept_epoch(epochs: Sequence[Kept]) -> int:
    """Number, counted from 1, of the epoch whose weights are kept in the end, from all epochs in order."""
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
