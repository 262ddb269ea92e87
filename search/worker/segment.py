"""What crosses from the driver to a worker and back: one segment of a trial, its epochs, and what became of it.

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
"""What a worker tells the driver: one of the four, by its name, as JSON text; beside an epoch its evidence."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One trial's stretch from one rung to a later one, for one worker. Plain values: it travels as JSON."""

    study: str
    """Absolute path of the study's folder, the same on every node."""
    number: int
    attempt: int
    config: dict[str, Any]
    """The TrainConfig, as JSON."""
    resume: str | None
    """Checkpoint to go on from, relative to the trial's folder; None starts afresh."""
    stop_after_stage: int
    data_root: str
    view_seed: int
    store: dict[str, Any]
    """The experiment's store settings, as JSON."""
    threads: int
    gpu_share: float | None
    """Share of one GPU's memory; None where the trial has no GPU."""
    deterministic: bool
    deadline: dict[str, Any] = field(default_factory=dict)
    """The experiment's deadline settings, as JSON; empty: their defaults."""
    first_stage: int = 0
    """Number of the stage in which it begins."""
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """What had no room before, with this backbone and on whichever device, as JSON."""
    device: str = ""
    """What the worker takes its memory from, as it names it; the driver does not know."""
    split_digest: str = ""
    """What the study's split.csv must be, see `search.study.checked_files`; empty: not known."""
    micro_batch: list[int | None] = field(default_factory=list)
    """Photos at once in each stage, null for whole batches, as the worker decides; empty: whole batches."""
    fold: int | None = None
    """Number of the study's fold that validates, in place of its validation photos; None: the study's own split."""
    needs_best: bool = False
    """Whether a checkpoint counts as lost where the best weights that it names are."""
    gpu: int | None = None
    """Number of the one visible GPU that the worker may use, as its executor decides; None: all that it sees."""
    rank_by: RankBy = "accuracy"
    averages: bool = False
    """Whether the last epoch also tells of averages of its stage's weights."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Segment(**values)` reads them back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a segment ended, as told by the worker."""

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
    """Reached its rung; configuration cannot be trained (NaN); Python error; process died; no room for what it had to
    write; a file that every trial needs (split, photos, weights, the study's folder) could not be read or written; no
    room for so many photos at once; told to end with its epoch, the search's hours being used up; could not even import
    what trains."""
    cause: str | None = None
    """One line for the study and the report; None where it ended well."""
    stage: int | None = None
    """Out of memory: number of the stage; None where the child could not tell."""
    refusal: dict[str, Any] | None = None
    """Out of memory: how many photos had no room where, as JSON; see `search.policy.oom`."""
    silent_by: str | None = None
    """Killed for saying nothing: the setting by which that was too long."""
    in_full: str | None = field(default=None, compare=False)
    """All lines of an error that is meant for the user; None for any other. Words only: not compared."""

    peak_memory_bytes: int | None = field(default=None, compare=False)
    """Ended: most main memory that its process held; None where the system does not tell."""

    def told(self, traceback: str | None) -> "Outcome":
        """With the words for its user as its cause: an error meant for users in full, for any other failure where
        its traceback lies, as a clause."""
        if self.in_full is not None:
            return replace(self, cause=self.in_full)
        if self.kind == "failed" and traceback is not None:
            return replace(self, cause=f"{self.cause}; {traceback}")
        return self


LOST = Outcome("killed", "the worker or its node was lost")
"""Of a segment whose worker is gone without a word."""


def report_message(report: EpochReport) -> Message:
    """An epoch as Tune's result."""
    evidence = {} if report.evidence is None else {EVIDENCE: report.evidence.to_text()}
    return {EPOCH_REPORT: json.dumps(report.to_json()), **evidence}


def read_report(result: Mapping[str, Any]) -> EpochReport | None:
    """The epoch in a Tune result, without its evidence; None where it is another message."""
    return EpochReport.from_json(json.loads(result[EPOCH_REPORT])) if EPOCH_REPORT in result else None


def read_evidence(result: Mapping[str, Any]) -> Evidence | None:
    """The probabilities that came with an epoch; None without any. Raises EvidenceError where they are damaged."""
    return Evidence.from_text(result[EVIDENCE]) if EVIDENCE in result else None


@dataclass(frozen=True, slots=True)
class Fallback:
    """A segment does not go on from its checkpoint, which is lost. Told before its first epoch."""

    epoch: int
    """After which it goes on; 0: it starts again."""
    stage: int
    """Number of the stage in which it begins."""


def fallback_message(fallback: Fallback) -> Message:
    """A fallback as Tune's result."""
    return {FALLBACK: json.dumps(asdict(fallback))}


def read_fallback(result: Mapping[str, Any]) -> Fallback | None:
    """The fallback in a Tune result; None where it is another message."""
    return Fallback(**json.loads(result[FALLBACK])) if FALLBACK in result else None


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for whoever watches the search, told while a segment runs."""

    level: int
    """As in `logging`."""
    text: str


def notice_message(notice: Notice) -> Message:
    """A notice as Tune's result."""
    return {NOTICE: json.dumps(asdict(notice))}


def read_notice(result: Mapping[str, Any]) -> Notice | None:
    """The notice in a Tune result; None where it is another message."""
    return Notice(**json.loads(result[NOTICE])) if NOTICE in result else None


def outcome_message(outcome: Outcome) -> Message:
    """A segment's end as Tune's result."""
    return {OUTCOME: json.dumps(asdict(outcome))}


def read_outcome(result: Mapping[str, Any]) -> Outcome | None:
    """The ending in a Tune result; None where it is another message."""
    return Outcome(**json.loads(result[OUTCOME])) if OUTCOME in result else None
