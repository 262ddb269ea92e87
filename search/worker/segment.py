"""Messages between driver and worker: one segment of a trial, and the worker's reports about it.

A child sends `Message` values through a pipe. With Ray, Tune carries them to the driver as the texts of `to_wire`.
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
    """The part of a trial from one rung to a later one, for one worker. Plain values: it travels as JSON."""

    study: str
    """Absolute path of the study's folder, the same on every node, or its URL in object storage, see
    `search.worker.stored_trial`."""
    number: int
    attempt: int
    config: dict[str, Any]
    """The TrainConfig, as JSON."""
    resume: str | None
    """Checkpoint to resume from, relative to the trial's folder, or None to start from the beginning."""
    stop_after_stage: int
    data_root: str
    """Absolute path, the same on every node, or a URL; see `photos_folder`."""
    view_seed: int
    store: dict[str, Any]
    """The experiment's store settings, as JSON."""
    threads: int
    gpu_share: float | None
    """Share of one GPU's memory, or number of whole GPUs; None without a GPU."""
    deterministic: bool
    deadline: dict[str, Any] = field(default_factory=dict)
    """The experiment's deadline settings, as JSON; empty for their defaults."""
    first_stage: int = 0
    """Number of the stage in which it begins."""
    oom_records: list[dict[str, Any]] = field(default_factory=list)
    """What ran out of memory before with this backbone, on any device, as JSON."""
    device: str = ""
    """The worker's name of its memory, see `memory_device`; set by the worker."""
    split_digest: str = ""
    """Expected digest of the study's split.csv, see `search.study.checked_files`; empty if unknown."""
    micro_batch: list[int | None] = field(default_factory=list)
    """Photos at once in each stage, null for whole batches; set by the worker. Empty for whole batches everywhere."""
    fold: int | None = None
    """Number of the study's fold to validate on, EVERY_PHOTO for none, or None for the study's own split."""
    needs_best: bool = False
    """Whether a checkpoint counts as lost if the best weights that it names are lost."""
    gpu: int | None = None
    """Number of its first GPU among the visible ones, or None if only its own are visible; set by the executor."""
    rank_by: RankBy = "accuracy"
    averages: bool = False
    """Whether the last epoch is also scored with averages of its stage's weights."""
    checkpoint_minutes: float | None = None
    """How often the state within an epoch is saved, or None for never."""
    wait_minutes: float = 0.0
    """How long a worker waits for an object storage that is away."""
    avoid_gpus: list[str] = field(default_factory=list)
    """GPUs that must not train, see `search.worker.gpu_names`."""
    requires: dict[str, str] = field(default_factory=dict)
    """On a cluster, what its node must have, see `search.worker.node_check`; empty on a single machine."""
    extra_root: str = ""
    """Folder or URL of the study's extra photos, if it trains on them too; empty if not."""
    extra_digest: str = ""
    """Expected digest of the study's extra.csv."""
    pseudo: dict[str, Any] = field(default_factory=dict)
    """A `PseudoJob` as JSON, if it trains on pseudo-labelled photos too; empty if not."""

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
        "doubtful",
        "unfit",
        "preempted",
    ]
    """ended: it reached its rung. infeasible: the configuration cannot be trained (NaN). failed: a Python error.
    killed: the process died. disk_full: a checkpoint found no room. unavailable: a file that every trial needs (split,
    photos, weights, the study's folder) could not be read or written. out_of_memory: a batch did not fit.
    out_of_time: stopped after its epoch because the search's hours are used up. unable: the training code could not be
    imported. doubtful: a CUDA library failed, perhaps because another process held the memory for a moment, which a new
    process shows. unfit: this node cannot run the search (another version, other photos, no usable GPU). preempted: its
    node is leaving the cluster, or the driver was asked to end."""
    cause: str | None = None
    """One line for the study and the report, or None if it ended well."""
    stage: int | None = None
    """Out of memory: number of the stage, or None if the child did not report it."""
    oom_record: dict[str, Any] | None = None
    """Out of memory: how many photos did not fit where, as JSON; see `search.policy.oom`."""
    timeout_setting: str | None = None
    """Killed as stuck: the setting that determined the limit."""
    user_message: str | None = field(default=None, compare=False)
    """All lines of an error meant for the user, or None for other errors. Text only, so it is not compared."""

    gpu_fault: bool = False
    """Whether its GPU failed, so that another one may train the trial. `kind` is what it means if there is no other."""
    peak_memory_bytes: int | None = field(default=None, compare=False)
    """Ended: peak main memory of the process, or None if unknown."""

    def with_user_cause(self, traceback: str | None) -> "Outcome":
        """The outcome with its cause written for the user: an error meant for users in full, or, after another error,
        with a clause that says where the traceback is."""
        if self.user_message is not None:
            return replace(self, cause=self.user_message)
        if self.kind == "failed" and traceback is not None:
            return replace(self, cause=f"{self.cause}; {traceback}")
        return self


LOST = Outcome("killed", "the worker or its node was lost")
"""The outcome of a segment whose worker vanished without reporting one."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Sent before a segment's first epoch if its checkpoint is lost and it resumes from an earlier one."""

    epoch: int
    """The epoch it resumes after; 0 if it starts again."""
    stage: int
    """Number of the stage in which it begins."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Sent first on a cluster: the node that the segment runs on."""

    node_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Sent first by a child with GPUs, before it touches them."""

    gpus: str
    """Its GPUs, as `search.worker.gpu_names` names them."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Sent from time to time in place of training on a GPU that is left out: the worker keeps that GPU occupied."""

    gpus: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A log line for the driver's terminal, sent while a segment runs."""

    level: int
    """As in `logging`."""
    text: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """Sent by a child to its supervisor only, before it trains: the photos at once that it starts with."""

    micro_batch: list[int | None]
    """As in `Segment`."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a process that does not train, sent once, before its outcome."""

    content: str
    """JSON."""


Message = EpochReport | Placed | Granted | Parked | Fallback | Notice | Result | Outcome
"""A worker's message to the driver. An outcome is the last message of its segment."""

_KIND, _CONTENT, _EVIDENCE = "message", "content", "evidence"
_KINDS: dict[str, type[Placed | Granted | Parked | Fallback | Notice | Result | Outcome]] = {
    "placed": Placed,
    "granted": Granted,
    "parked": Parked,
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
    """The message in a result of Ray Tune, or None. Raises EvidenceError if an epoch's probabilities are damaged."""
    if _KIND not in result:
        return None
    values = json.loads(result[_CONTENT])
    if result[_KIND] != "epoch":
        return _KINDS[result[_KIND]](**values)
    evidence = Evidence.from_text(result[_EVIDENCE]) if _EVIDENCE in result else None
    return replace(EpochReport.from_json(values), evidence=evidence)
