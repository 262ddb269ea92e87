"""No process outlives a killed driver: a small one of our own watches it, and ends whatever Ray left behind.

Most of Ray ends by itself within 3 s of its driver's death, but the raylet's agents first try for a minute to reach a
control store that is gone. Started by path and of the standard library alone: it costs 10 MB.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_SCAN_S = 1.0
_FAREWELL = b"."
"""What a driver says that ends by itself; silence, then the end of the pipe, means that it was killed."""

Identity = tuple[int, str]
"""(process id, start time in clock ticks): an id alone may have been given to another process."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """While inside, the death of this process, SIGKILL included, takes all its descendants with it."""
    # In a session of its own: a terminal's Ctrl-C is for the driver alone.
    guard = subprocess.Popen(  # noqa: S603 - this very file, by this very Python
        [sys.executable, "-I", "-S", str(Path(__file__))], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            guard.communicate(_FAREWELL)


def descendants(root: int) -> frozenset[Identity]:
    """All living processes below `root`, from /proc."""
    rows = {pid: row for pid in _process_ids() if (row := _parent_and_start(pid))}
    found: set[int] = set()
    new = {root}
    while new:
        new = {pid for pid, (parent, _) in rows.items() if parent in new and pid not in found}
        found |= new
    return frozenset((pid, rows[pid][1]) for pid in found)


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent_and_start(pid: int) -> tuple[int, str] | None:
    """Fields 4 and 22 of /proc/<pid>/stat; None once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return int(fields[1]), fields[19]


def _watch(driver: int) -> None:
    """The guard's whole life."""
    seen: frozenset[Identity] = frozenset()
    while not select.select([sys.stdin], [], [], _SCAN_S if seen else 0)[0]:
        seen = descendants(driver)
    if os.read(sys.stdin.fileno(), 1) == _FAREWELL:
        return
    for pid, start in seen:
        row = _parent_and_start(pid)
        if pid != os.getpid() and row and row[1] == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _watch(os.getppid())
