"""A small guard process that kills all descendants of a driver when the driver is killed.

Most Ray processes end within 3 s of their driver's death, but the raylet's agents keep trying for a minute to reach a
control store that is gone. The guard is started by path and imports only the standard library, so it takes 10 MB.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

_SCAN_S = 1.0
"""Pause between two scans for descendants."""
_RELEASE = b"."
"""Sent by a driver that ends by itself. The end of the pipe without it means that the driver was killed."""
_KILL = b"!"
"""Sent by a driver that ends at once and has already reported why: kill its descendants, but print nothing."""

_MARK = "CARSEARCH_DRIVER"
"""Environment variable of all processes that a driver starts. Ray detaches its workers, so they have no parent."""

Identity = tuple[int, str]
"""(process id, start time in clock ticks). The system may give the same id to another process later."""


class Guard:
    """The driver's connection to its guard. Only the first message counts."""

    def __init__(self, pipe: IO[bytes], pid: int) -> None:
        self._pipe = pipe
        self._pid = pid
        self._sent = False

    def end_descendants(self) -> None:
        """Kill all processes that the driver has started, except its guard."""
        _kill(one for one in descendants(os.getpid()) if one[0] != self._pid)

    def kill_on_close(self) -> None:
        """Let the guard kill all descendants when the driver ends, without printing `last_words`."""
        self._send(_KILL)

    def release(self) -> None:
        """End the guard. The driver's descendants live on."""
        self._send(_RELEASE)

    def close(self) -> None:
        """Close the pipe, so that the guard acts on its message."""
        with contextlib.suppress(OSError):
            self._pipe.close()

    def _send(self, message: bytes) -> None:
        if not self._sent:
            self._sent = True
            with contextlib.suppress(OSError):
                self._pipe.write(message)
                self._pipe.flush()


@contextlib.contextmanager
def guarded(last_words: str = "") -> Iterator[Guard]:
    """Within this context, killing this process also kills all its descendants, even with SIGKILL.

    last_words: a line that the guard prints to stderr if this process is killed.
    """
    driver = _own_identity()
    command = [sys.executable, "-I", "-S", str(Path(__file__)), *driver, last_words]
    before = os.environ.get(_MARK)
    os.environ[_MARK] = ":".join(driver)
    # In its own session, so that a terminal's Ctrl-C reaches only the driver.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - this very file
    guard = Guard(cast("IO[bytes]", process.stdin), process.pid)
    try:
        yield guard
    except (KeyboardInterrupt, SystemExit):
        guard.kill_on_close()  # the driver has not waited for its descendants
        raise
    finally:
        guard.release()
        guard.close()
        process.wait()
        os.environ.pop(_MARK) if before is None else os.environ.update({_MARK: before})


def _own_identity() -> tuple[str, str]:
    """The driver's identity as arguments of the guard. The guard cannot ask for its parent: if the driver has died
    already, that would be init."""
    row = _parent_and_start(os.getpid())
    return str(os.getpid()), row[1] if row else ""


def descendants(*roots: int) -> frozenset[Identity]:
    """All living processes below any of `roots`, from /proc."""
    rows = {pid: row for pid in _process_ids() if (row := _parent_and_start(pid))}
    found: set[int] = set()
    new = set(roots)
    while new:
        new = {pid for pid, (parent, _) in rows.items() if parent in new and pid not in found}
        found |= new
    return frozenset((pid, rows[pid][1]) for pid in found)


def _process_ids() -> list[int]:
    """All process ids; empty if /proc belongs to another PID namespace, whose ids name other processes than ours."""
    if Path("/proc/self").readlink().name != str(os.getpid()):
        return []
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent_and_start(pid: int) -> tuple[int, str] | None:
    """Parent and start time, fields 4 and 22 of /proc/<pid>/stat; None once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # The name in field 2 may contain blanks and parentheses.
    return int(fields[1]), fields[19]


def _lives(one: Identity) -> bool:
    row = _parent_and_start(one[0])
    return row is not None and row[1] == one[1]


def _kill(processes: Iterable[Identity]) -> None:
    for one in processes:
        _signal(one, signal.SIGKILL)


def _watch(driver: Identity, last_words: str) -> None:
    """The guard's main loop."""
    seen: frozenset[Identity] = frozenset()
    message = b""
    pause_s = 0.0  # The first scan is immediate.
    while message != _RELEASE:
        if select.select([sys.stdin], [], [], pause_s)[0]:
            received = os.read(sys.stdin.fileno(), 1)
            if not received:
                break
            message = received
        pause_s = _SCAN_S
        # All living processes that ever were descendants: when a raylet dies, its agents drop out of the tree.
        seen = frozenset(filter(_lives, seen)) | _below(driver)
    if message == _RELEASE:
        return
    _end_all(seen, driver)
    if last_words and not message:
        with contextlib.suppress(OSError):
            os.write(2, f"{last_words}\n".encode())


def _end_all(known: frozenset[Identity], driver: Identity) -> None:
    """Kill the known processes, their descendants and all with the driver's mark, including those started since the
    last scan.

    All are stopped first: a process that is killed while it forks leaves an orphan.
    """
    me = os.getpid()
    stopped: set[Identity] = set()
    new = set(known)
    while new := {one for one in new | _marked(driver) if one[0] != me} - stopped:
        stopped |= new
        alive = {one for one in new if _signal(one, signal.SIGSTOP)}
        new = set(descendants(*(pid for pid, _ in alive)))
    _kill(stopped)


def _marked(driver: Identity) -> frozenset[Identity]:
    """All living processes that started with the driver's mark in their environment."""
    mark = f"{_MARK}={':'.join((str(driver[0]), driver[1]))}".encode()
    found = set()
    for pid in _process_ids():
        with contextlib.suppress(OSError):  # the process is gone or belongs to another user
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and (row := _parent_and_start(pid)):
                found.add((pid, row[1]))
    return frozenset(found)


def _signal(one: Identity, number: signal.Signals) -> bool:
    """Send a signal. Returns False if the process is gone."""
    if not _lives(one):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(one[0], number)
    return True


def _below(driver: Identity) -> frozenset[Identity]:
    """The driver's descendants; empty if the driver is gone, since another process may have its id by now.

    A driver may be process 1, as the entrypoint of a container is. The machine's own init has another start time.
    """
    found = descendants(driver[0])
    return found if _lives(driver) else frozenset()


if __name__ == "__main__":
    _watch((int(sys.argv[1]), sys.argv[2]), sys.argv[3])
