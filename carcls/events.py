"""What a training tells the world: plain, frozen values that survive JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from carcls.scoring.evidence import Evidence


@dataclass(frozen=True, slots=True)
class PhaseSeconds:
    """Where one epoch's wall-clock went, in seconds; no second is in two of them."""

    train: float
    """Training steps."""
    validate: float
    build: float = 0.0
    """Model, optimizer and weights made ready; falls on the first epoch of a stage or an attempt."""
    trace: float = 0.0
    """The first training step of a stage or an attempt, as far as it took longer than the others."""
    store: float = 0.0
    """Photos, views and features read from the store, or built, or waited for while another process built them."""
    data_wait: float = 0.0
    """Training steps that waited for their batch."""
    holdout: float = 0.0
    """Holdout photos, read and scored; what a training costs without them is `total` less this."""

    @property
    def total(self) -> float:
        """All phases together."""
        return self.train + self.validate + self.build + self.trace + self.store + self.data_wait + self.holdout


@dataclass(frozen=True, slots=True)
class StoreUse:
    """What the node's store was to one process for a while: artefacts, and seconds of computing."""

    built: int = 0
    """Artefacts that this process built."""
    reused: int = 0
    """Times that it opened a finished one, whoever had built it: another process, or itself in an earlier epoch."""
    built_s: float = 0.0
    """Wall-clock of those builds; of what is built from another artefact, only its own part; without tracing."""
    saved_s: float = 0.0
    """What the builds of the reused artefacts had taken, once for each reuse: without the store they would have been
    computed again each time."""

    def __add__(self, other: "StoreUse") -> "StoreUse":
        return StoreUse(
            built=self.built + other.built,
            reused=self.reused + other.reused,
            built_s=self.built_s + other.built_s,
            saved_s=self.saved_s + other.saved_s,
        )


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One finished epoch. Its checkpoint is on disk before anybody hears of it."""

    epoch: int
    """Fidelity: epochs that this trial has had over all stages, counted from 1."""
    stage: int
    """Stage number, counted from 0."""
    stage_name: str
    stage_epoch: int
    """Epochs within this stage, counted from 1."""
    stage_ended: bool
    """True on the stage's last epoch, planned or by early stopping."""
    train_loss: float
    train_accuracy: float
    val_log_loss: float
    val_accuracy: float
    val_macro_f1: float
    learning_rate: float
    """Of the epoch's last step."""
    image_size: int
    """Side in px at which this epoch trained and was validated."""
    images_per_s: float
    """Training images over training seconds."""
    trainable_parameters: int
    seconds: PhaseSeconds
    checkpoint: str
    """Full state after this epoch, relative to the trial's folder."""
    best_weights: str
    """Best weights over all stages so far, relative to the trial's folder."""
    notes: tuple[str, ...] = field(default=())
    """What the reader should know: a smaller micro-batch, an early stop."""
    store: StoreUse = field(default_factory=StoreUse)
    """What it took from the node's store; nothing in reports that are older than this field."""
    holdout_log_loss: float | None = None
    """On photos that took part in no choice, and no choice may read it; None where none are held back for this. NaN
    where a probability was not finite: the training goes on, for validation alone decides."""
    holdout_accuracy: float | None = None
    val_scaled_log_loss: float | None = None
    """After temperature scaling (`carcls.scoring.choices`); ranks weights and trials. None if accuracy ranks them,
    and in reports older than this field."""
    kept_epoch: int | None = None
    """The epoch whose weights `best_weights` holds, or None if that is the best one by `rank`."""
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    """The probabilities behind the scores. Travels beside the report, not in its JSON; None once both are stored."""
    micro_batch: int | None = None
    """Photos that went through the model at once, where there was no room for whole batches; None: whole batches, and
    in reports that are older than this field."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values without the evidence; `from_json` reads them back to an equal report."""
        values = asdict(replace(self, evidence=None))
        del values["evidence"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EpochReport":
        """Inverse of `to_json`, and reads older reports. Raises TypeError for a missing or unknown field."""
        values = _with_new_names(values)
        return cls(
            **values
            | {
                "seconds": PhaseSeconds(**_with_new_names(values["seconds"])),
                "notes": tuple(values.get("notes", ())),
                "store": StoreUse(**values.get("store", {})),
            }
        )

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts from worse to better by scaled log-loss, ties by accuracy; without it by accuracy, ties by log-loss."""
        if self.val_scaled_log_loss is not None:
            return (-self.val_scaled_log_loss, self.val_accuracy)
        return (self.val_accuracy, -self.val_log_loss)


def is_finite(report: EpochReport) -> bool:
    """False for an epoch with a NaN or infinite validation score: it never counts."""
    return all(math.isfinite(part) for part in report.rank)


def best_report(reports: Sequence[EpochReport]) -> EpochReport | None:
    """Of a training's epochs from the first on, the one whose weights are kept; None without a finite one.

    The one that the last report names, or else the best by `rank`, the earlier of equals.
    """
    if reports and reports[-1].kept_epoch is not None:
        return reports[reports[-1].kept_epoch - 1]
    return max(filter(is_finite, reports), key=lambda report: report.rank, default=None)


def deciding_report(reports: Sequence[EpochReport]) -> EpochReport | None:
    """Of the epochs of one stage, in order, the one by which trainings are compared there; None without a finite one.

    The latest where epochs have a scaled log-loss: a maximum over epochs would be their luck. Else the best by `rank`.
    """
    finite = [report for report in reports if is_finite(report)]
    if finite and finite[-1].val_scaled_log_loss is not None:
        return finite[-1]
    return max(finite, key=lambda report: report.rank, default=None)


_OLD_NAMES = {"judge": "holdout", "judge_accuracy": "holdout_accuracy", "judge_log_loss": "holdout_log_loss"}


def _with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a stored report under today's names."""
    return {_OLD_NAMES.get(name, name): value for name, value in values.items()}
