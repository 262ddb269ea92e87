"""What happens in a search as plain events: the source of its log lines, of `--json` and of callbacks in Python.

Events are differences between two states of the study's records, so that a missed look loses none of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Literal

from carcls.events import EpochReport
from search.experiment.domains import Value
from search.policy.records import TrialRecord, TrialState
from search.progress.summary import best_text, best_trial, ended_count, stage_position, state_name
from search.terminal.formatting import count_text, one_line, params_text

Kind = Literal[
    "search_started",
    "started",
    "promoted",
    "resumed",
    "epoch",
    "stage_ended",
    "paused",
    "complete",
    "pruned",
    "failed",
    "interrupted",
    "search_ended",
    "message",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Fields that do not apply are None."""

    kind: Kind
    """`search_started` and `search_ended` frame a run of the command; `message` is a line for people; all others are
    about one trial."""
    study: str
    time: str
    """When it was noticed, ISO 8601 in UTC."""
    trial: int | None = None
    """Number of the trial."""
    params: Mapping[str, Value] | None = None
    """With `started`: its parameters."""
    is_baseline: bool | None = None
    """With `started`: whether it is the default recipe."""
    repeats: int | None = None
    """With `started`: number of the trial that it repeats with another seed."""
    stage: int | None = None
    """With `epoch`, `stage_ended`, `promoted` and `resumed`: number of the stage, counted from 0."""
    stage_name: str | None = None
    """With `epoch` and `stage_ended`."""
    epoch: int | None = None
    """Epochs that the trial has trained."""
    accuracy: float | None = None
    """On the validation photos: with `epoch` and `stage_ended` of that epoch, with `paused`, `complete` and `pruned` of
    the trial's best one, with `search_started` and `search_ended` of the best trial's."""
    log_loss: float | None = None
    """Of the same epoch."""
    image_size: int | str | None = None
    """With `epoch` and `stage_ended`: side in px, or `384x512` (height x width)."""
    images_per_s: float | None = None
    """With `epoch`."""
    seconds: float | None = None
    """With `epoch`: its length."""
    cause: str | None = None
    """With `failed` and `interrupted`: why, on one line."""
    infeasible: bool | None = None
    """With `failed`: whether the configuration itself cannot be trained."""
    best_trial: int | None = None
    """With `search_started` and `search_ended`: number of the best trial so far."""
    trials_ended: int | None = None
    """With the same: trials that are complete, pruned or failed, without repeats."""
    text: str | None = None
    """With `message`: the line."""

    def to_json(self) -> dict[str, Any]:
        """The fields that apply, as JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def search_event(kind: Kind, records: Sequence[TrialRecord], *, study: str, time: str) -> Event:
    """`search_started` or `search_ended`. Pure."""
    best = best_trial(records)
    return Event(
        kind,
        study,
        time,
        trials_ended=ended_count(records),
        best_trial=best.number if best else None,
        accuracy=best.best.val_accuracy if best and best.best else None,
        log_loss=best.best.val_log_loss if best and best.best else None,
    )


def events(
    before: Sequence[TrialRecord], after: Sequence[TrialRecord], *, study: str = "", time: str = ""
) -> Iterator[Event]:
    """The events between two states of a study's records, trial by trial. Pure."""
    for old, new in changes(before, after):
        yield from (Event(study=study, time=time, trial=new.number, **values) for values in _trial(old, new))


def changes(
    before: Sequence[TrialRecord], after: Sequence[TrialRecord]
) -> list[tuple[TrialRecord | None, TrialRecord]]:
    """Each record that was replaced, with the one before it. A study's records are replaced, never changed. Pure."""
    # Of the trials that stay, only identities are compared: looking at thousands of them costs milliseconds an epoch.
    pairs = [(old, new) for old, new in zip_longest(before, after) if new is not None and new is not old]
    if all(old is None or old.number == new.number for old, new in pairs):
        return pairs
    known = {record.number: record for record in before}
    return [(known.get(new.number), new) for _, new in pairs]


def event_lines(before: Sequence[TrialRecord], after: Sequence[TrialRecord]) -> tuple[str, ...]:
    """The same as lines, without single epochs. Pure."""
    return change_lines(changes(before, after))


def change_lines(changed: Sequence[tuple[TrialRecord | None, TrialRecord]]) -> tuple[str, ...]:
    """As `event_lines`, for changes that are known already. Pure."""
    return tuple(
        f"trial {new.number:04d} {event_text(event, new)}"
        for old, new in changed
        for event in (Event(study="", time="", trial=new.number, **values) for values in _trial(old, new))
        if event.kind != "epoch"
    )


def _trial(old: TrialRecord | None, new: TrialRecord) -> Iterator[dict[str, Any]]:
    yield from _start(old, new)
    for report in new.reports[len(old.reports) if old else 0 :]:
        yield {"kind": "epoch", **_scores(report), "images_per_s": report.images_per_s, "seconds": report.seconds.total}
        if report.stage_ended:
            yield {"kind": "stage_ended", **_scores(report)}
    if old is None or old.state is not new.state:
        yield from _state_change(new)


def _scores(report: EpochReport) -> dict[str, Any]:
    return {
        "stage": report.stage,
        "stage_name": report.stage_name,
        "epoch": report.epoch,
        "accuracy": report.val_accuracy,
        "log_loss": report.val_log_loss,
        "image_size": report.image_size,
    }


def _start(old: TrialRecord | None, new: TrialRecord) -> Iterator[dict[str, Any]]:
    """A segment that started: the trial's first, a promotion, or another attempt after an interruption."""
    if new.attempts == (old.attempts if old else 0):
        return
    if old is None or old.attempts == 0:
        yield {
            "kind": "started",
            "params": dict(new.params),
            "is_baseline": new.is_baseline and new.repeats is None,
            "repeats": new.repeats,
        }
        return
    stage = new.stage_count - 1 if new.next_stage is None else new.next_stage
    yield {"kind": "promoted" if old.state is TrialState.PAUSED else "resumed", "stage": stage, "epoch": old.fidelity}


def _state_change(new: TrialRecord) -> Iterator[dict[str, Any]]:
    best = {"accuracy": new.best.val_accuracy, "log_loss": new.best.val_log_loss} if new.best else {}
    match new.state:
        case TrialState.PAUSED | TrialState.COMPLETE | TrialState.PRUNED:
            yield {"kind": new.state.lower(), "epoch": new.fidelity, **best}
        case TrialState.FAIL:
            cause = one_line(new.cause or "no cause recorded")
            yield {"kind": "failed", "epoch": new.fidelity, "cause": cause, "infeasible": new.infeasible}
        case TrialState.WAITING if new.attempts:
            why = {"cause": one_line(new.cause)} if new.cause else {}
            yield {"kind": "interrupted", "epoch": new.fidelity, **why}
        case _:
            pass


def event_text(event: Event, record: TrialRecord) -> str:
    """An event of a trial in words; `record` is the trial after it. Pure."""
    epochs = count_text(event.epoch or 0, "epoch")
    texts: dict[Kind, Callable[[], str]] = {
        "started": lambda: f"started{_role(record)}: {params_text(record.params)}",
        "promoted": lambda: f"promoted to {stage_position(record)}",
        "resumed": lambda: f"resumed in {stage_position(record)}",
        "epoch": lambda: f"trained epoch {event.epoch}",
        "stage_ended": lambda: _stage_end(record.reports[(event.epoch or 1) - 1]),
        "paused": lambda: f"paused after {epochs}",
        "complete": lambda: f"{state_name(record)} after {epochs}; {best_text(record)}",
        "pruned": lambda: f"{state_name(record)} after {epochs}; {best_text(record)}",
        "failed": lambda: f"{state_name(record)}: {event.cause}",
        "interrupted": lambda: "was interrupted and waits to resume",
    }
    return texts[event.kind]()


def _stage_end(report: EpochReport) -> str:
    return (
        f"ended stage {report.stage_name}: validation accuracy {report.val_accuracy:.4f},"
        f" log-loss {report.val_log_loss:.4f}, {count_text(report.stage_epoch, 'epoch')} at {report.image_size} px"
    )


def _role(record: TrialRecord) -> str:
    if record.repeats is not None:
        return f" (repeats trial {record.repeats:04d})"
    return " (baseline)" if record.is_baseline else ""
