"""What a stock search's workers and drivers wrote down, and what it says about them. Pure but for the file.

A trial is known by its parameters, not by Ray's id: a trial that Ray has forgotten and begins anew has another id.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Note:
    """One event of one trial."""

    life: int
    """Which driver, from 0."""
    event: str
    """Of a worker: started, begun (its checkpoint is read), trained (another is written), raised. Of the driver: ready
    (no trial's), heard, ended, failed."""
    key: str
    epoch: int
    pid: int
    at_s: float
    """Seconds of the system's clock."""
    in_rungs: int = 0
    """Values that the scheduler compares with, where the driver writes."""
    in_sampler: int = 0
    """Trials whose end the sampler knows, where the driver writes."""


def key_of(config: Mapping[str, Any]) -> str:
    """A trial's parameters as text: equal for equal parameters only."""
    return json.dumps({name: config[name] for name in sorted(config)})


def append_note(path: Path, note: Note) -> None:
    """Append one line. Concurrent writers do not interleave: a line is shorter than a page, in append mode."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(asdict(note)).encode() + b"\n")


def read_notes(path: Path) -> list[Note]:
    """In the order in which they were written; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Note(**json.loads(line)) for line in lines[:-1]]


def number_of(path: Path, key: str) -> int:
    """A trial's place in the order of their beginnings."""
    return list(first_begun(read_notes(path))).index(key)


def first_begun(notes: Sequence[Note]) -> tuple[str, ...]:
    """Trials in the order of their beginnings, each once."""
    return tuple(dict.fromkeys(note.key for note in notes if note.event == "begun"))


def of(notes: Sequence[Note], *events: str) -> list[Note]:
    return [note for note in notes if note.event in events]


def heard_and_trained_again(notes: Sequence[Note]) -> int:
    """Epochs trained of which the driver had heard before."""
    heard: set[tuple[str, int]] = set()
    again = 0
    for note in notes:
        if note.event == "heard":
            heard.add((note.key, note.epoch))
        elif note.event == "trained" and (note.key, note.epoch) in heard:
            again += 1
    return again


def trained_again(notes: Sequence[Note]) -> int:
    """Epochs trained that had been trained before, heard of or not."""
    trained = [(note.key, note.epoch) for note in of(notes, "trained")]
    return len(trained) - len(set(trained))


def ended_and_begun_again(notes: Sequence[Note]) -> int:
    """Trials that began once more after the driver had heard of their end."""
    ended: set[str] = set()
    again: set[str] = set()
    for note in notes:
        if note.event == "ended":
            ended.add(note.key)
        elif note.event == "begun" and note.key in ended:
            again.add(note.key)
    return len(again)


def last_epochs(notes: Sequence[Note]) -> dict[str, int]:
    """How far each trial was let go on: what the scheduler's decisions come to."""
    epochs: dict[str, int] = {}
    for note in of(notes, "heard"):
        epochs[note.key] = max(note.epoch, epochs.get(note.key, 0))
    return epochs


def knowledge_lost(notes: Sequence[Note], field: str) -> list[tuple[int, int]]:
    """(known at a driver's last word, known at the first word of the next), for each two drivers in turn."""
    by_life: dict[int, list[int]] = {}
    for note in of(notes, "heard", "ended", "failed"):
        by_life.setdefault(note.life, []).append(getattr(note, field))
    lives = [by_life[life] for life in sorted(by_life)]
    return [(before[-1], after[0]) for before, after in pairwise(lives)]
