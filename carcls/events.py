"""What a training run reports: plain, frozen values that round-trip through JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from carcls.scoring.evidence import Evidence
from carcls.system.nvml import GpuUse


@dataclass(frozen=True, slots=True)
class PhaseSeconds:
    """Wall-clock seconds of one epoch by phase. The phases do not overlap."""

    train: float
    """Training steps."""
    validate: float
    build: float = 0.0
    """Building model and optimizer and loading weights; counted in the first epoch of a stage or attempt."""
    trace: float = 0.0
    """Extra time of the first training step of a stage or attempt compared with later steps."""
    store: float = 0.0
    """Reading photos, views and features from the store, building them, or waiting for another process to do so."""
    data_wait: float = 0.0
    """Training steps waiting for their batch."""
    holdout: float = 0.0
    """Reading and scoring holdout photos. Without a holdout the epoch would take `total` minus this."""

    def __add__(self, other: "PhaseSeconds") -> "PhaseSeconds":
        return PhaseSeconds(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def total(self) -> float:
        """All phases together."""
        return self.train + self.validate + self.build + self.trace + self.store + self.data_wait + self.holdout


@dataclass(frozen=True, slots=True)
class StoreUse:
    """How one process used the node's store over some period: artefacts and seconds of computing."""

    built: int = 0
    """Artefacts that this process built."""
    reused: int = 0
    """Times that it opened a finished artefact, built by another process or by itself in an earlier epoch."""
    built_s: float = 0.0
    """Wall-clock of those builds, without tracing and without the builds of artefacts that they depend on."""
    saved_s: float = 0.0
    """Build time of the reused artefacts, counted once for each reuse: the time that the store saved."""

    def __add__(self, other: "StoreUse") -> "StoreUse":
        return StoreUse(
            built=self.built + other.built,
            reused=self.reused + other.reused,
            built_s=self.built_s + other.built_s,
            saved_s=self.saved_s + other.saved_s,
        )


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One finished epoch. Its checkpoint is on disk before the report is sent."""

    epoch: int
    """Fidelity: epochs of this trial over all stages, counted from 1."""
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
    image_size: int | str
    """Side in px at which this epoch trained and was validated, or `384x512` (height x width)."""
    images_per_s: float
    """Training images over training seconds."""
    trainable_parameters: int
    seconds: PhaseSeconds
    checkpoint: str
    """Full state after this epoch, relative to the trial's folder."""
    best_weights: str
    """Best weights over all stages so far, relative to the trial's folder."""
    notes: tuple[str, ...] = field(default=())
    """Remarks for the reader, such as a smaller micro-batch or an early stop."""
    store: StoreUse = field(default_factory=StoreUse)
    """Use of the node's store; empty in reports older than this field."""
    holdout_log_loss: float | None = None
    """Score on holdout photos. No decision may depend on it. None without a holdout; NaN if a probability was not
    finite, which does not end the training because only validation decides."""
    holdout_accuracy: float | None = None
    val_scaled_log_loss: float | None = None
    """After temperature scaling (`carcls.scoring.choices`); ranks weights and trials. None if accuracy ranks them
    and in reports older than this field."""
    kept_epoch: int | None = None
    """The epoch whose weights `best_weights` holds, or None if that is the best epoch by `rank`."""
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    """The probabilities behind the scores. Sent beside the report, not in its JSON; None once both are stored."""
    micro_batch: int | None = None
    """Photos per forward pass where the device had no memory for whole batches. None for whole batches and in reports
    older than this field."""
    gpus: tuple[GpuUse, ...] = field(default=())
    """What its GPUs did since the report before; empty on CPUs, without NVML, and in reports older than this field."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values without the evidence; `from_json` reads them back to an equal report."""
        values = asdict(replace(self, evidence=None))
        del values["evidence"]
        if not self.gpus:  # most reports; a large study has 100,000
            del values["gpus"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EpochReport":
        """Inverse of `to_json`; also reads older reports. Raises TypeError for a missing or unknown field."""
        values = dict(_with_new_names(values))
        use, gpus = values.get("store"), values.get("gpus")  # often absent or empty; a large study has 100,000 reports
        values["seconds"] = PhaseSeconds(**_with_new_names(values["seconds"]))
        values["notes"] = tuple(values.get("notes", ()))
        values["store"] = StoreUse(**use) if use else StoreUse()
        values["gpus"] = tuple(GpuUse(**one) for one in gpus) if gpus else ()
        return cls(**values)

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts from worse to better by scaled log-loss, then accuracy; without scaled log-loss by accuracy, then
        log-loss."""
        if self.val_scaled_log_loss is not None:
            return (-self.val_scaled_log_loss, self.val_accuracy)
        return (self.val_accuracy, -self.val_log_loss)


def is_finite(report: EpochReport) -> bool:
    """False for an epoch with a NaN or infinite validation score, which is never chosen."""
    first, second = report.rank
    return math.isfinite(first) and math.isfinite(second)


def best_report(reports: Sequence[EpochReport]) -> EpochReport | None:
    """The epoch whose weights are kept, or None if no epoch is finite. `reports` holds all epochs from the first on.

    That is the epoch that the last report names, or else the best by `rank`; the earlier of two equals wins.
    """
    if reports and reports[-1].kept_epoch is not None:
        return reports[reports[-1].kept_epoch - 1]
    return max(filter(is_finite, reports), key=lambda report: report.rank, default=None)


def deciding_report(reports: Sequence[EpochReport]) -> EpochReport | None:
    """The epoch by which trainings are compared at the end of a stage, or None if no epoch is finite.

    reports: the stage's epochs in order. With scaled log-loss it is the latest epoch, since a maximum over epochs would
    reward luck; otherwise it is the best by `rank`.
    """
    finite = [report for report in reports if is_finite(report)]
    if finite and finite[-1].val_scaled_log_loss is not None:
        return finite[-1]
    return max(finite, key=lambda report: report.rank, default=None)


_OLD_NAMES = {"judge": "holdout", "judge_accuracy": "holdout_accuracy", "judge_log_loss": "holdout_log_loss"}


def _with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """Maps field names of older stored reports to the current names."""
    if values.keys().isdisjoint(_OLD_NAMES):  # almost always; a large study has 100,000 reports
        return values
    return {_OLD_NAMES.get(name, name): value for name, value in values.items()}
