"""What crosses between driver and worker: one segment of a trial, and the worker's messages about it.

A child sends `Message` values through a pipe. Where the driver is on another machine, Ray Tune carries them as the
texts of `to_wire`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from carcls.config import RankBy
from carcls.events import EpochReport
from carcls.scoring.evidence import Evidence


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
    oom_records: list[dict[str, Any]] = field(default_factory=list)
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
    oom_record: dict[str, Any] | None = None
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


@dataclass(frozen=True, slots=True)
class Fallback:
    """A segment does not continue from its checkpoint, which is lost. Sent before its first epoch."""

    epoch: int
    """The epoch after which it continues; 0: it starts again."""
    stage: int
    """Number of the stage in which it begins."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the search's user, sent while a segment runs."""

    level: int
    """As in `logging`."""
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a process was started for, where that is not a training: sent once, before its outcome."""

    content: str
    """JSON."""


Message = EpochReport | Fallback | Notice | Result | Outcome
"""What a worker tells the driver. An outcome is the last message of its segment."""

_KIND, _CONTENT, _EVIDENCE = "message", "content", "evidence"
_KINDS: dict[str, type[Fallback | Notice | Result | Outcome]] = {
    "fallback": Fallback,
    "notice": Notice,
    "result": Result,
    "outcome": Outcome,
}


def to_wire(message: Message) -> dict[str, str]:
    """A message as a result of Ray Tune. Tune flattens nested results, so the content is one JSON text."""
    if isinstance(message, EpochReport):
        evidence = {} if message.evidence is None else {_EVIDENCE: message.evidence.to_text()}
        return {_KIND: "epoch", _CONTENT: json.dumps(message.to_json()), **evidence}
    kind = next(name for name, one in _KINDS.items() if isinstance(message, one))
    return {_KIND: kind, _CONTENT: json.dumps(asdict(message))}


def from_wire(result: Mapping[str, Any]) -> Message | None:
    """The message in a result of Ray Tune; None where it carries none. Raises EvidenceError where an epoch's
    probabilities are damaged."""
    if _KIND not in result:
        return None
    values = json.loads(result[_CONTENT])
    if result[_KIND] != "epoch":
        return _KINDS[result[_KIND]](**values)
    evidence = Evidence.from_text(result[_EVIDENCE]) if _EVIDENCE in result else None
    return replace(EpochReport.from_json(values), evidence=evidence)
