"""The position of a training run between two epochs, stored as JSON in checkpoints, and how an epoch advances it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from carcls.config import StageConfig, TrainConfig
from carcls.errors import CheckpointError
from carcls.scoring.choices import Kept, Scaled, replaces
from carcls.training.retention import best_name
from carcls.training.steps.schedules import stops_early


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one epoch on one part of the split."""

    log_loss: float
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch over all stages so far."""

    epoch: int
    """Counted from 1, over all stages."""
    path: str
    """Its weights, relative to the trial's folder."""
    image_size: int | str
    """Side in px of its validation photos, or `384x512` (height x width)."""
    accuracy: float
    log_loss: float
    ends_stage: bool = False
    losses: tuple[float, ...] = ()
    """Scaled losses of the validation photos, for comparison with later epochs; empty if accuracy decides."""

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts from worse to better by accuracy, then log-loss."""
        return (self.accuracy, -self.log_loss)


@dataclass(frozen=True, slots=True)
class Position:
    """A training run between two epochs. Early stopping and plateau are derived from the stage's log-losses."""

    epoch: int = 0
    """Number of finished epochs over all stages."""
    stage: int = 0
    """Stage of the last finished epoch, or the stage just entered."""
    stage_ended: bool = False
    log_losses: tuple[float, ...] = ()
    """Validation log-losses of the stage's finished epochs."""
    best: Best | None = None

    @property
    def stage_epoch(self) -> int:
        """Number of finished epochs of the stage."""
        return len(self.log_losses)

    @property
    def next_stage(self) -> int:
        """Stage of the next epoch; equals the number of stages when all have ended."""
        return self.stage + 1 if self.stage_ended else self.stage

    @property
    def best_so_far(self) -> Best:
        """The best epoch. Raises ValueError before the first one."""
        if self.best is None:
            raise ValueError("no epoch has finished yet, so none is the best")
        return self.best

    def entering(self, stage: int) -> "Position":
        """The position at the start of a stage, or unchanged if that stage has already begun."""
        if stage == self.stage and not self.stage_ended:
            return self
        return replace(self, stage=stage, stage_ended=False, log_losses=())

    def after_epoch(
        self, config: TrainConfig, scores: Scores | None, scaled: Scaled | None = None, *, attempt: int
    ) -> "Position":
        """The position after one more epoch, whose weights become the best or not.

        scores: on validation photos, or None without any: the latest weights are then the best.
        scaled: losses that decide which weights are kept, see `choices.replaces`. None decides by accuracy: only a
        strictly higher rank replaces earlier weights.
        """
        stage, epoch = config.stages[self.stage], self.epoch + 1
        log_losses = (*self.log_losses, float("nan") if scores is None else scores.log_loss)
        stage_ended = len(log_losses) >= stage.epochs or stops_early(stage.early_stopping, log_losses)
        new = Best(
            epoch=epoch,
            path=best_name(attempt, epoch),
            image_size=config.stage_image_size(self.stage),
            accuracy=float("nan") if scores is None else scores.accuracy,
            log_loss=log_losses[-1],
            ends_stage=stage_ended,
            losses=() if scaled is None else tuple(scaled.losses.tolist()),
        )
        return replace(
            self,
            epoch=epoch,
            log_losses=log_losses,
            stage_ended=stage_ended,
            best=new if scores is None or self.best is None or _replaces(new, self.best) else self.best,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back to an equal position."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Position":
        """Inverse of `to_json`. Raises CheckpointError for values that are not a position."""
        try:
            best = None if values["best"] is None else Best(**values["best"])
            best = best and replace(best, losses=tuple(best.losses))
            return cls(**{**values, "best": best, "log_losses": tuple(values["log_losses"])})
        except (TypeError, KeyError) as error:
            raise CheckpointError(f"not the position of a training run: {values!r} ({error})") from error


def _replaces(new: Best, kept: Best) -> bool:
    if not new.losses:
        return new.rank > kept.rank
    return replaces(
        Kept(new.ends_stage, np.array(new.losses)), Kept(kept.ends_stage, np.array(kept.losses or [np.nan]))
    )


def stopping_note(stage: StageConfig, position: Position) -> tuple[str, ...]:
    """Remark about a stage that stopped early; empty otherwise."""
    rule = stage.early_stopping
    if rule is None or not position.stage_ended or position.stage_epoch == stage.epochs:
        return ()
    patience = "1 epoch" if rule.patience_epochs == 1 else f"{rule.patience_epochs} epochs"
    return (
        f"stopped after {position.stage_epoch} of {stage.epochs} epochs: no better validation log-loss for {patience}",
    )
