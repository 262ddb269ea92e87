"""Which models to average, and whether that helps. Pure functions.

Greedy selection with replacement (Caruana et al. 2004, 'Ensemble Selection from Libraries of Models'): start with the
best model, then repeatedly add the one that lowers the average's loss most, until none does. A model that is added
twice has twice the weight. The loss is the log-loss after temperature scaling (Guo et al. 2017), so that confidence
does not decide. What the whole choice is worth is told by cross-fitting: each photo is scored by models, weights and
temperature that were chosen without it, beside the single model that the same other photos prefer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.bootstrap import mean_interval, unit_parts
from carcls.scoring.choices import Floats, Scaled, scaled
from carcls.scoring.gains import FEWEST_UNITS
from carcls.scoring.metrics import SMALLEST_PROBABILITY

MOST_DRAWS = 25
"""Selections at most, of which several may be of one model: weights are then multiples of 1/25 or coarser."""
SMALLEST_GAIN = 1e-6
"""Nats per photo that another selection must save; less is rounding."""
_PARTS = 5
_FEWEST_PHOTOS = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What an ensemble may consist of."""

    models: int
    """Different candidates at most."""
    cost: float | None = None
    """Largest cost of a single candidate, such as milliseconds a photo; None for no limit."""
    sum_cost: float | None = None
    """Largest sum of the costs of several; None: `cost`."""

    def allow(self, costs: Sequence[float]) -> bool:
        """Whether different candidates of these costs may be averaged, or one be used alone."""
        limit = self.cost if len(costs) == 1 or self.sum_cost is None else self.sum_cost
        return len(costs) <= self.models and (limit is None or sum(costs) <= limit)


@dataclass(frozen=True, slots=True)
class EnsembleChoice:
    """What was selected on some photos, and what it is worth. Log-losses are after temperature scaling."""

    weights: tuple[tuple[int, int], ...]
    """(candidate, times selected), in order of selection."""
    factor: float
    """Multiplies the average's log-probabilities: its temperature, inverted."""
    best: int
    """The best single candidate."""
    best_log_loss: float
    """On the photos that chose it, as `best_accuracy`, `log_loss` and `accuracy`."""
    best_accuracy: float
    log_loss: float
    accuracy: float
    single_log_loss: float
    """Cross-fitted: of the single candidate that the other photos prefer. The next three are cross-fitted too."""
    single_accuracy: float
    fitted_log_loss: float
    fitted_accuracy: float
    interval: tuple[float, float]
    """Bootstrap interval of the cross-fitted log-loss that the ensemble saves per photo."""
    units: int
    """Different photos, of those that look alike one."""

    @property
    def helps(self) -> bool:
        """True if the whole interval is above 0, and cross-fitted accuracy is no lower than a single model's. Never
        with a single member, nor with fewer than `gains.FEWEST_UNITS` different photos."""
        is_better = self.interval[0] > 0 and self.fitted_accuracy >= self.single_accuracy
        return is_better and len(self.weights) > 1 and self.units >= FEWEST_UNITS


def choose_ensemble(
    probabilities: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    *,
    limits: Limits,
    confidence: float,
    seed: int,
    costs: Sequence[float] | None = None,
    units: NDArray[np.integer] | None = None,
) -> EnsembleChoice:
    """Selects among candidates by their probabilities, each (n, classes), of the same photos.

    Candidates with a value that is not finite, or with a cost above the limit (NaN: unknown), are never selected. The
    earlier of equal candidates wins. costs: of each candidate. units: photos with one number look alike and are one in
    bootstrap and cross-fitting. Raises ValueError with fewer than two photos, without a candidate that may be
    selected, or for shapes that do not match.
    """
    if len(labels) < _FEWEST_PHOTOS or any(len(one) != len(labels) for one in probabilities):
        raise ValueError(
            f"expected probabilities of {_FEWEST_PHOTOS} photos or more, as many as labels; found"
            f" {sorted({len(one) for one in probabilities})} and {len(labels)} labels"
        )
    units = np.arange(len(labels)) if units is None else np.asarray(units)
    said = [np.asarray(one, np.float64) for one in probabilities]
    usable = _usable(said, costs, limits)
    if not usable:
        raise ValueError("no candidate may be selected: each has probabilities that are not finite, or costs too much")
    chosen = _Chosen.of(said, labels, usable, limits)
    # Row 0: a single model; row 1: the ensemble.
    hits, losses = np.zeros((2, len(labels))), np.zeros((2, len(labels)))
    for part in unit_parts(units, _PARTS, np.random.default_rng(seed)):
        others = np.setdiff1d(np.arange(len(labels)), part)
        if not len(others):
            others = part  # copies of a single photo
        other = _Chosen.of([one[others] for one in said], labels[others], usable, limits)
        single, several = said[other.best], _mean(said, other.draws)
        for place, (one, factor) in enumerate(((single, other.best_factor), (several, other.factor))):
            losses[place, part] = _losses(one[part], labels[part], factor)
            hits[place, part] = one[part].argmax(axis=1) == labels[part]
    alone, together = said[chosen.best], _mean(said, chosen.draws)
    return EnsembleChoice(
        weights=tuple((one, chosen.draws.count(one)) for one in dict.fromkeys(chosen.draws)),
        factor=chosen.factor,
        best=chosen.best,
        best_log_loss=float(_losses(alone, labels, chosen.best_factor).mean()),
        best_accuracy=float((alone.argmax(axis=1) == labels).mean()),
        log_loss=float(_losses(together, labels, chosen.factor).mean()),
        accuracy=float((together.argmax(axis=1) == labels).mean()),
        single_log_loss=float(losses[0].mean()),
        single_accuracy=float(hits[0].mean()),
        fitted_log_loss=float(losses[1].mean()),
        fitted_accuracy=float(hits[1].mean()),
        interval=mean_interval(losses[0] - losses[1], confidence, np.random.default_rng((seed, 1)), units),
        units=len(np.unique(units)),
    )


def _usable(said: Sequence[Floats], costs: Sequence[float] | None, limits: Limits) -> list[tuple[int, float]]:
    """Candidates that may be selected, with their costs."""
    prices = [0.0] * len(said) if costs is None else list(costs)
    return [
        (number, price)
        for number, (one, price) in enumerate(zip(said, prices, strict=True))
        if np.isfinite(one).all() and limits.allow([price])
    ]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What some photos prefer."""

    best: int
    best_factor: float
    draws: list[int]
    """Candidates in order of selection, the best one first."""
    factor: float

    @classmethod
    def of(
        cls, said: Sequence[Floats], labels: NDArray[Any], usable: Sequence[tuple[int, float]], limits: Limits
    ) -> "_Chosen":
        alone = {number: scaled(said[number], labels) for number, _ in usable}
        price = dict(usable)
        best = min(alone, key=lambda number: alone[number].log_loss)  # the earliest of equals
        together = [number for number in alone if limits.sum_cost is None or price[number] <= limits.sum_cost]
        start = min(together, key=lambda number: alone[number].log_loss, default=best)
        grown = [
            _grown(one, alone[one], said, labels, price=price, limits=limits) for one in dict.fromkeys((best, start))
        ]
        draws, choice = min(grown, key=lambda one: one[1].log_loss)
        return cls(best, alone[best].factor, draws, choice.factor)


def _grown(
    start: int,
    alone: Scaled,
    said: Sequence[Floats],
    labels: NDArray[Any],
    *,
    price: Mapping[int, float],
    limits: Limits,
) -> tuple[list[int], Scaled]:
    """Selections from a first candidate on, and their average's loss. alone: the first one's. price: of usable ones."""
    draws, found = [start], alone
    total = said[start].copy()
    while len(draws) < MOST_DRAWS:
        spent = [price[number] for number in dict.fromkeys(draws)]
        may = [number for number in price if number in draws or limits.allow([*spent, price[number]])]
        # The factor changes little from one selection to the next, so it is fitted to the winner only.
        losses = [_losses((total + said[one]) / (len(draws) + 1), labels, found.factor).mean() for one in may]
        next_one = may[int(np.argmin(losses))]
        candidate = scaled((total + said[next_one]) / (len(draws) + 1), labels)
        if not candidate.log_loss < found.log_loss - SMALLEST_GAIN:
            break
        draws.append(next_one)
        total, found = total + said[next_one], candidate
    return draws, found


def _mean(said: Sequence[Floats], draws: Sequence[int]) -> Floats:
    total = np.zeros_like(said[draws[0]])
    for number in draws:
        total += said[number]
    return total / len(draws)


def _losses(probabilities: Floats, labels: NDArray[Any], factor: float) -> Floats:
    """(n,) -log p of the true classes, after scaling by a factor."""
    logits = factor * np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1.0))
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    losses: Floats = total - logits[np.arange(len(labels)), labels]
    return losses


def rescaled(probabilities: NDArray[np.floating], factor: float) -> NDArray[np.float32]:
    """Probabilities (n, classes) at another temperature: proportional to their power `factor`. The order stays."""
    if factor == 1.0:
        return np.asarray(probabilities, np.float32)
    logits = factor * np.log(np.clip(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY, 1.0))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
