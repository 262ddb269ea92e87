"""When what happened to a training, told by whichever process it happened in. Brings no TensorFlow."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

EVENTS = "events.jsonl"
"""In the folder of a list's run."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """Lines of JSON; any number of processes append, each line whole. Times: CLOCK_MONOTONIC, one for the machine."""

    path: Path

    def note(self, entry: int, what: str, **details: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        line = json.dumps({"entry": entry, "what": what, "at": time.monotonic(), **details}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def by_entry(self) -> dict[int, list[dict[str, Any]]]:
        """Events of each entry of the list, in order of time."""
        found: dict[int, list[dict[str, Any]]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            found.setdefault(event["entry"], []).append(event)
        return {entry: sorted(events, key=lambda event: event["at"]) for entry, events in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Phases:
    """Where one training's seconds went, between the decision to start it and its end."""

    start: float
    """To the first call of the training step: process, imports, model, weights, first batch."""
    first_step: float
    """From the decision to that step's end, its trace included."""
    trace: float
    """What the first step of each fit took beyond the median one: tracing, mostly."""
    steps: float
    """As many median steps as there were steps: the training itself."""
    wait: float
    """What the other steps took beyond that: waiting for data, disturbances."""
    validate: float
    total: float

    @property
    def other(self) -> float:
        """Between the fits: compiling, checkpoints, reports, the process's end."""
        return self.total - self.start - self.trace - self.steps - self.wait - self.validate


def phases(events: list[Mapping[str, Any]]) -> Phases:
    """One entry's events: `decided`, a `fit` for each call of fit, `ended`. Raises ValueError where one is missing."""
    at = {event["what"]: event["at"] for event in events}
    fits = [event for event in events if event["what"] == "fit"]
    if "decided" not in at or "ended" not in at or not fits:
        raise ValueError(f"expected `decided`, `fit` and `ended`; found {sorted(at)}: the training failed")
    durations = [[end - begin for begin, end in fit["batches"]] for fit in fits]
    steps = sum(median_low(fit) * len(fit) for fit in durations)
    trace = sum(max(0.0, fit[0] - median_low(fit)) for fit in durations)
    begin, end = fits[0]["batches"][0]
    return Phases(
        start=begin - at["decided"],
        first_step=end - at["decided"],
        trace=trace,
        steps=steps,
        wait=sum(sum(fit) for fit in durations) - steps - trace,
        validate=sum(event.get("validate_s", 0.0) for event in events),
        total=at["ended"] - at["decided"],
    )


def all_phases(log: EventLog) -> dict[int, Phases]:
    """Phases of every entry. Raises ValueError naming the first that failed."""
    return dict(_named(log))


def _named(log: EventLog) -> Iterator[tuple[int, Phases]]:
    for entry, events in log.by_entry().items():
        try:
            yield entry, phases(events)
        except ValueError as error:
            raise ValueError(f"{log.path}: entry {entry}: {error}") from error
