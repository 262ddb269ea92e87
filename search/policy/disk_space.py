"""Whether the study's disk has room for another segment, and for how long it has had none."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carcls.store.disk import free_bytes

_MARGIN_BYTES = 16 * 10**6
"""Reserved for files that are not checkpoints: above all the journal, then trial outputs and the report."""
_PROBES = 10
"""Retries within the patience. The disk without room may be another one than the study's, so free space here does not
show when there is room again."""
_FILES_OF_A_SEGMENT = 3
"""Two checkpoints that are kept and one that is being written."""
_BYTES_PER_MB = 1e6


def needed_bytes(*, largest_bytes: int, running: int, refused_at_bytes: int | None) -> int:
    """Free bytes required before one more segment starts.

    largest_bytes: size of the study's largest checkpoint so far; 0 before the first. running: segments that are
    running and will write too. refused_at_bytes: free bytes when a checkpoint last found no room, or None; more than
    that must be free.
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
    """Tracks how long the disk has been too full. Not thread-safe."""

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
        """Record that a checkpoint of this size found room."""
        self._largest_bytes = max(self._largest_bytes, size_bytes)
        self._refused_at_bytes = None

    def refused(self) -> None:
        """Record that a segment found no room for its files with the bytes that are free now."""
        self._refused_at_bytes, self._refused_at_s = self._free(self._folder), self._clock_s()

    def shortage(self, *, running: int) -> Shortage | None:
        """The shortage that keeps another segment from starting beside the running ones, or None."""
        free, now_s, refused = self._free(self._folder), self._clock_s(), self._refused_at_bytes
        is_probe = refused is not None and now_s - self._refused_at_s >= self._patience_s / _PROBES
        needed = needed_bytes(
            largest_bytes=self._largest_bytes, running=running, refused_at_bytes=None if is_probe else refused
        )
        if free < needed:
            self._full_since_s = now_s if self._full_since_s is None else self._full_since_s
            return Shortage(self._folder, free, needed)
        if is_probe:
            self._refused_at_s = now_s  # One probe at a time: its checkpoint shows whether the disk is still full.
        else:
            self._full_since_s = self._refused_at_bytes = None
        return None

    @property
    def is_full(self) -> bool:
        """True if the last call of `shortage` found no room."""
        return self._full_since_s is not None

    @property
    def gives_up(self) -> bool:
        """True once the disk has been full for longer than the patience."""
        return self._full_since_s is not None and self._clock_s() - self._full_since_s >= self._patience_s


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / _BYTES_PER_MB:,.1f} MB"
