"""Whether the disk of a study has room for another segment: a pure rule, and a memory of how long it had none."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carcls.store.disk import free_bytes

_MARGIN_BYTES = 16 * 10**6
"""For what is not a checkpoint: the journal above all, then the outputs of trials and the report."""
_PROBES = 10
"""A segment that was refused may have met another disk than the study's: within the patience this many try again."""
_FILES_OF_A_SEGMENT = 3
"""Two checkpoints that are kept and one that is being written."""


def needed_bytes(*, largest_bytes: int, running: int, refused_at_bytes: int | None) -> int:
    """What has to be free before one more segment starts.

    largest_bytes: of the largest checkpoint of the study so far; 0 before the first. running: segments that run and
    will write too. refused_at_bytes: what was free when a checkpoint last found no room: from then on more has to be.
    """
    usual = _MARGIN_BYTES + (running + 1) * _FILES_OF_A_SEGMENT * largest_bytes
    return usual if refused_at_bytes is None else max(usual, refused_at_bytes + _MARGIN_BYTES)


@dataclass(frozen=True, slots=True)
class Shortage:
    """A disk without room for another segment."""

    folder: Path
    free: int
    """Bytes."""
    needed: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.folder}: {_mb(self.free)} free on its disk, {_mb(self.needed)} needed for another segment"


class DiskWatch:
    """Remembers how long the disk has been too full. Not thread-safe."""

    def __init__(
        self, folder: Path, *, patience_s: float, clock_s: Callable[[], float], free: Callable[[Path], int] = free_bytes
    ) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._clock_s = clock_s
        self._free = free
        self._largest_bytes = 0
        self._refused_at_bytes: int | None = None
        self._refused_at_s = 0.0
        self._full_since_s: float | None = None

    def wrote(self, size_bytes: int) -> None:
        """A checkpoint of this size was written, and so found room."""
        self._largest_bytes = max(self._largest_bytes, size_bytes)
        self._refused_at_bytes = None

    def refused(self) -> None:
        """A segment found no room for what it had to write, with as much free as there is now."""
        self._refused_at_bytes, self._refused_at_s = self._free(self._folder), self._clock_s()

    def shortage(self, *, running: int) -> Shortage | None:
        """None where one more segment may start beside those that run."""
        free, now_s, refused = self._free(self._folder), self._clock_s(), self._refused_at_bytes
        is_probe = refused is not None and now_s - self._refused_at_s >= self._patience_s / _PROBES
        needed = needed_bytes(
            largest_bytes=self._largest_bytes, running=running, refused_at_bytes=None if is_probe else refused
        )
        if free < needed:
            self._full_since_s = now_s if self._full_since_s is None else self._full_since_s
            return Shortage(self._folder, free, needed)
        if is_probe:
            self._refused_at_s = now_s  # one at a time; whether it is still full, its checkpoint will tell
        else:
            self._full_since_s = self._refused_at_bytes = None
        return None

    @property
    def is_full(self) -> bool:
        """True from a shortage on until there is room again, as last looked at."""
        return self._full_since_s is not None

    @property
    def gives_up(self) -> bool:
        """True once it has been full for longer than anybody should wait."""
        return self._full_since_s is not None and self._clock_s() - self._full_since_s >= self._patience_s


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
