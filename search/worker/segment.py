"""Messages between driver and worker: one segment of a trial, its epochs, and its outcome.

Messages to the driver are Tune results. Tune flattens nested results, so each carries its content as one JSON text.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from carcls.config import RankBy
from carcls.events import EpochReport
from carcls.scoring.evidence import Evidence

EPOCH_REPORT = "epoch_report"
EVIDENCE = "evidence"
OUTCOME = "outcome"
FALLBACK = "fallen_back"
NOTICE = "notice"

Message = dict[str, str]
"""A worker's message to the driver: an epoch (with its evidence), a fallback, a notice or an outcome, as JSON text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a trial from one rung to a later one, for one worker. Plain values: it travels as JSON."""

    study: str
    """Absolute path of the study's folder, the same on every node."""
    number: int
    attempt: int
    config: dict[str, Any]
    """The TrainConfig, as JSON."""
    resume: str | None
    """Checkpoint to resume from, relative to the trial's folder, or None to start from the beginning."""
    stop_after_stage: int
    data_root: str
    view_seed: int
    store: dict[str, Any]
    """The experiment's store settings, as JSON."""
    threads: int
    gpu_share: float | None
    """Share of one GPU's memory, or None without a GPU."""
    deterministic: bool
    deadline: dict[str, Any] = field(default_factory=dict)
    """The experiment's deadline settings, as JSON; empty for their defaults."""
    first_stage: int = 0
    """Number of the stage in which it begins."""
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """What ran out of memory before with this backbone, on any device, as JSON."""
    device: str = ""
    """The worker's name of its memory, see `memory_device`; set by the worker."""
    split_digest: str = ""
    """Expected digest of the study's split.csv, see `search.study.checked_files`; empty if unknown."""
    micro_batch: list[int | None] = field(default_factory=list)
    """Photos at once in each stage, null for whole batches; set by the worker. Empty for whole batches everywhere."""
    fold: int | None = None
    """Number of the study's fold to validate on, or None for the study's own split."""
    needs_best: bool = False
    """Whether a checkpoint counts as lost if the best weights that it names are lost."""
    gpu: int | None = None
    """Number of the one visible GPU to use, or None for all; set by the executor."""
    rank_by: RankBy = "accuracy"
    averages: bool = False
    """Whether the last epoch is also scored with averages of its stage's weights."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Segment(**values)` reads them back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a segment ended, as the worker reports it."""

    kind: Literal[
        "ended",
        "infeasible",
        "failed",
        "killed",
        "disk_full",
        "unavailable",
        "out_of_memory",
        "out_of_time",
        "unable",
    ]
    """ended: it reached its rung. infeasible: the configuration cannot be trained (NaN). failed: a Python error.
    killed: the process died. disk_full. unavailable: a file that every trial needs (split, photos, weights, the study's
    folder) could not be read or written. out_of_memory. out_of_time: stopped after its epoch because the search's
    hours are used up. unable: the training code could not be imported."""
    cause: str | None = None
    """One line for the study and the report, or None if it ended well."""
    stage: int | None = None
    """Out of memory: number of the stage, or None if the child did not report it."""
    refusal: dict[str, Any] | None = None
    """Out of memory: how many photos did not fit where, as JSON; see `search.policy.oom`."""
    silent_by: str | None = None
    """Killed as stuck: the setting that determined the limit."""
    in_full: str | None = field(default=None, compare=False)
    """All lines of an error meant for the user, or None for other errors. Text only, so it is not compared."""

    peak_memory_bytes: int | None = field(default=None, compare=False)
    """Ended: peak main memory of the process, or None if unknown."""

    def told(self, traceback: str | None) -> "Outcome":
        """The outcome with its cause written for the user: an error meant for users in full, or, after another error,
        with a clause that says where the traceback is."""
        if self.in_full is not None:
            return replace(self, cause=self.in_full)
        if self.kind == "failed" and traceback is not None:
            return replace(self, cause=f"{self.cause}; {traceback}")
        return self


LOST = Outcome("killed", "the worker or its node was lost")
"""The outcome of a segment whose worker vanished without reporting one."""


def report_message(report: EpochReport) -> Message:
    """An epoch as Tune's result."""
    evidence = {} if report.evidence is None else {EVIDENCE: report.evidence.to_text()}
    return {EPOCH_REPORT: json.dumps(report.to_json()), **evidence}


def read_report(result: Mapping[str, Any]) -> EpochReport | None:
    """The epoch in a Tune result, without its evidence, or None if it is another message."""
    return EpochReport.from_json(json.loads(result[EPOCH_REPORT])) if EPOCH_REPORT in result else None


def read_evidence(result: Mapping[str, Any]) -> Evidence | None:
    """The probabilities sent with an epoch, or None. Raises EvidenceError if they are damaged."""
    return Evidence.from_text(result[EVIDENCE]) if EVIDENCE in result else None


@dataclass(frozen=True, slots=True)
class Fallback:
    """Sent before a segment's first epoch if its checkpoint is lost and it resumes from an earlier one."""

    epoch: int
    """The epoch it resumes after; 0 if it starts again."""
    stage: int
    """Number of the stage in which it begins."""


def fallback_message(fallback: Fallback) -> Message:
    """A fallback as Tune's result."""
    return {FALLBACK: json.dumps(asdict(fallback))}


def read_fallback(result: Mapping[str, Any]) -> Fallback | None:
    """The fallback in a Tune result, or None if it is another message."""
    return Fallback(**json.loads(result[FALLBACK])) if FALLBACK in result else None


@dataclass(frozen=True, slots=True)
class Notice:
    """A log line for the driver's terminal, sent while a segment runs."""

    level: int
    """As in `logging`."""
    text: str


def notice_message(notice: Notice) -> Message:
    """A notice as Tune's result."""
    return {NOTICE: json.dumps(asdict(notice))}


def read_notice(result: Mapping[str, Any]) -> Notice | None:
    """The notice in a Tune result, or None if it is another message."""
    return Notice(**json.loads(result[NOTICE])) if NOTICE in result else None


def outcome_message(outcome: Outcome) -> Message:
    """An outcome as Tune's result."""
    return {OUTCOME: json.dumps(asdict(outcome))}


def read_outcome(result: Mapping[str, Any]) -> Outcome | None:
    """The outcome in a Tune result, or None if it is another message."""
    return Outcome(**json.loads(result[OUTCOME])) if OUTCOME in result else None
