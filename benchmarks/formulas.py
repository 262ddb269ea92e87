"""Synthetic blackboxes: plausible fine-tuning curves as pure functions of (parameters, seed). They are not measured.

Within a stage, the accuracy approaches the stage's limit by a constant share per epoch. The limit is the ceiling of the
group (the backbone) minus the losses from the learning rates so far, the dropout and the unfreeze fraction.
"""

import json
import math
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.experiment.domains import Value
from search.experiment.space import Space
from search.experiment.template import space_of
from search.policy.policy import Proposal
from search.simulator.blackboxes import Training
from search.simulator.curves import Curve, CurvePoint

STAGES = ("head", "half", "most", "full")
EPOCHS = (3, 3, 2, 3)
"""Epochs of each stage, as in typical recipes."""

_RATES = ((1e-4, 2e-2), (1e-5, 2e-3), (1e-5, 1e-3), (1e-5, 1e-3))
"""Lowest and highest learning rate of each stage."""
_WORST, _BEST = 0.02, 0.995
"""Bounds of the accuracy."""
_START = 0.1
"""Accuracy before training."""
_BEST_DROPOUT, _DROPOUT_COST = 0.25, 0.1
_BEST_UNFREEZE, _UNFREEZE_COST = 0.5, 0.2
"""Accuracy lost per squared distance from the best value."""
_LOG_LOSS_NOISE = 0.1
"""Standard deviation of the logarithm of the validation log-loss, given the accuracy."""


@dataclass(frozen=True, slots=True)
class Group:
    """How one backbone learns."""

    ceilings: tuple[float, float, float, float]
    """The best accuracy of each stage."""
    pace: float
    """Share of the gap to the limit that remains after an epoch; smaller is faster."""
    dip: float
    """Accuracy that unfreezing costs at first, at the highest learning rate."""
    seconds: tuple[float, float, float, float]
    """Seconds of one epoch in each stage."""


@dataclass(frozen=True)
class FormulaBlackbox:
    """A family of curves. See `Blackbox`."""

    groups: Mapping[str, Group]
    weights: tuple[float, float, float, float]
    """Accuracy lost per squared decade of learning rate away from the best, by stage."""
    rates: tuple[float, float, float, float]
    """The best learning rate of each stage."""
    noise: float
    """Standard deviation of accuracy from epoch to epoch."""
    photos: int | None = None
    """Number of validation photos, each right or wrong by chance. None for validation without sampling error."""

    size = None

    @cached_property
    def space(self) -> Space:
        """Backbone, dropout, unfreeze fraction, and a learning rate per stage."""
        rates = [{"loguniform": list(ends)} for ends in _RATES]
        stages = [{"name": name, "learning_rate": rate} for name, rate in zip(STAGES, rates, strict=True)]
        stages[1]["unfreeze"] = {"uniform": [0.2, 0.7]}
        return space_of(
            {"backbone": {"choice": list(self.groups)}, "dropout": {"uniform": [0.0, 0.6]}, "stages": stages}
        )

    @property
    def baseline(self) -> Mapping[str, Value]:
        """The first group, with all other parameters in the middle of their domains."""
        return self.space.default()

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        """See `Blackbox`. There are no rows to take."""
        del taken
        params = dict(proposal.params)
        group = self.groups[str(params["train.backbone"])]
        text = json.dumps(params, sort_keys=True)
        rng = np.random.default_rng((seed, proposal.repetition, zlib.crc32(text.encode())))
        points: list[CurvePoint] = []
        reached = _START
        for stage, epochs in enumerate(EPOCHS):
            goal = group.ceilings[stage] - self._lost(params, stage)
            if stage == 1:
                reached = max(_WORST, reached - group.dip * _heat(params))
            for epoch in range(1, epochs + 1):
                reached = goal - (goal - reached) * group.pace
                points.append(self._point(reached, rng, stage, epoch == epochs, group.seconds[stage]))
        return Training(
            Curve(params, proposal.repetition, len(STAGES), tuple(points), is_baseline=proposal.is_baseline), None
        )

    def _lost(self, params: Mapping[str, Value], stage: int) -> float:
        """Accuracy lost through the settings of the stages so far."""
        rates = (float(params[f"train.stages.{name}.learning_rate"] or 0.0) for name in STAGES[: stage + 1])
        lost = sum(
            weight * math.log10(rate / best) ** 2
            for weight, rate, best in zip(self.weights, rates, self.rates, strict=False)
        )
        lost += _DROPOUT_COST * (float(params["train.dropout"] or 0.0) - _BEST_DROPOUT) ** 2
        if stage == 0:
            return lost
        return lost + _UNFREEZE_COST * (float(params["train.stages.half.unfreeze"] or 0.0) - _BEST_UNFREEZE) ** 2

    def _point(self, truth: float, rng: np.random.Generator, stage: int, ended: bool, seconds: float) -> CurvePoint:
        """Only validation has sampling error; the holdout counts as large enough to have none."""
        wandered = _clipped(truth + self.noise * rng.standard_normal())
        seen = wandered if self.photos is None else int(rng.binomial(self.photos, wandered)) / self.photos
        return CurvePoint(
            stage=stage,
            stage_ended=ended,
            val_accuracy=seen,
            val_log_loss=-math.log(wandered) * math.exp(_LOG_LOSS_NOISE * rng.standard_normal()),
            holdout_accuracy=wandered,
            holdout_log_loss=-math.log(wandered),
            seconds=seconds,
        )


def _heat(params: Mapping[str, Value]) -> float:
    """Position of the learning rate after unfreezing, on a log scale: 0 for the lowest, 1 for the highest."""
    low, high = (math.log(end) for end in _RATES[1])
    return (math.log(float(params["train.stages.half.learning_rate"] or low)) - low) / (high - low)


def _clipped(accuracy: float) -> float:
    return min(max(accuracy, _WORST), _BEST)


_EVEN = (1.0, 3.0, 4.0, 5.0)

WELL_BEHAVED = FormulaBlackbox(
    groups={
        "medium": Group((0.72, 0.82, 0.86, 0.90), pace=0.4, dip=0.0, seconds=_EVEN),
        "large": Group((0.76, 0.86, 0.90, 0.94), pace=0.4, dip=0.0, seconds=_EVEN),
        "small": Group((0.66, 0.76, 0.80, 0.84), pace=0.4, dip=0.0, seconds=_EVEN),
    },
    weights=(0.08, 0.02, 0.01, 0.01),
    rates=(2e-3, 2e-4, 1e-4, 1e-4),
    noise=0.003,
)
"""Trials that lead early also lead at the end, except for the effect of later learning rates."""

CROSSING = FormulaBlackbox(
    groups={
        "fast": Group((0.78, 0.84, 0.86, 0.87), pace=0.25, dip=0.2, seconds=(1.0, 2.0, 2.5, 3.0)),
        "middling": Group((0.70, 0.87, 0.90, 0.92), pace=0.4, dip=0.5, seconds=(1.5, 4.0, 5.0, 6.0)),
        "slow": Group((0.62, 0.90, 0.95, 0.98), pace=0.55, dip=0.7, seconds=(2.5, 7.0, 9.0, 11.0)),
    },
    weights=(0.03, 0.05, 0.04, 0.04),
    rates=(2e-3, 7e-4, 3e-4, 2e-4),
    noise=0.005,
)
"""The group with the best final accuracy learns slowly, and the best learning rates dip deepest after unfreezing."""

NOISY = FormulaBlackbox(
    groups={
        "medium": Group((0.70, 0.86, 0.89, 0.91), pace=0.4, dip=0.2, seconds=(1.0, 3.0, 4.0, 5.0)),
        "large": Group((0.72, 0.88, 0.92, 0.94), pace=0.4, dip=0.2, seconds=(1.5, 5.0, 6.5, 8.0)),
        "small": Group((0.68, 0.82, 0.85, 0.87), pace=0.4, dip=0.2, seconds=(0.5, 1.5, 2.0, 2.5)),
    },
    weights=(0.02, 0.02, 0.02, 0.02),
    rates=(2e-3, 3e-4, 2e-4, 1e-4),
    noise=0.01,
    photos=120,
)
"""Few validation photos: many ties, and differences due to chance."""

FORMULAS: Mapping[str, FormulaBlackbox] = {
    "well-behaved": WELL_BEHAVED,
    "crossing": CROSSING,
    "noisy": NOISY,
}
