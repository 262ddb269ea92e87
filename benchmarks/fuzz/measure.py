"""Tries of one kind, and what they came to. A worker's death, or a try that never ends, is a try that ended badly."""

import resource
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.fuzz.kind import ENDS, Kind, end_of


@dataclass(slots=True)
class Figures:
    """Of one kind."""

    name: str
    ends: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ENDS, 0)))
    worst_s: float = 0.0
    worst_mb: float = 0.0
    """Memory beyond what the process had before, at its peak."""
    bad: list[str] = field(default_factory=list)
    """Number of the try, and what was said, for those that ended in silence or in a traceback."""

    @property
    def tried(self) -> int:
        return self.ends.total()

    def add(self, number: int, end: str, text: str, seconds: float, mb: float) -> None:
        self.ends[end] += 1
        self.worst_s, self.worst_mb = max(self.worst_s, seconds), max(self.worst_mb, mb)
        if end in ("silent", "traceback"):
            self.bad.append(f"{self.name}, try {number}: {end}: {' '.join(text.split())[:300]}")


@dataclass(frozen=True, slots=True)
class Try:
    """One damaged file, read."""

    number: int
    end: str
    text: str
    seconds: float
    mb: float


def tries(kind: Kind, *, first: int, count: int, seconds: float, seed: int, scratch: Path) -> Iterator[Try]:
    """Tries `first` to `count` - 1, each the same whatever came before it; none begins after `seconds`."""
    expected = [_fresh(kind, whole, scratch) for whole in kind.wholes] if kind.equal else []
    began, before = time.monotonic(), _peak_mb()
    for number in range(first, count):
        if time.monotonic() - began > seconds:
            return
        rng = Random(f"{seed}/{kind.name}/{number}")  # noqa: S311 - no secret
        which = rng.randrange(len(kind.wholes))
        content = kind.damage(rng, kind.wholes[which])
        folder = _emptied(scratch)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile and NumPy warn of what is refused a moment later
            end, text = end_of(kind, content, folder, expected[which] if kind.equal else None)
        yield Try(number, end, text, time.perf_counter() - started, _peak_mb() - before)


def measure(kind: Kind, *, count: int, seconds: float, seed: int, scratch: Path) -> Figures:
    """All tries in this process."""
    figures = Figures(kind.name)
    for one in tries(kind, first=0, count=count, seconds=seconds, seed=seed, scratch=scratch):
        figures.add(one.number, one.end, one.text, one.seconds, one.mb)
    return figures


def _fresh(kind: Kind, whole: bytes, scratch: Path) -> object:
    return kind.read(whole, _emptied(scratch))


def _emptied(scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
