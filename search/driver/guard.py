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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

_SCAN_S = 1.0
_FAREWELL = b"."
"""What a driver says that ends by itself; silence, then the end of the pipe, means that it was killed."""
_SAID = b"!"
"""What a driver says that goes at once and has told why: as killed, but not a word more."""

_MARK = "CARSEARCH_DRIVER"
"""In the environment of all that a driver starts: Ray's workers are born as nobody's children, and grow up so."""

Identity = tuple[int, str]
"""(process id, start time in clock ticks): an id alone may have been given to another process."""


class Guard:
    """The driver's word to its guard. Only the first one counts."""

    def __init__(self, pipe: IO[bytes], pid: int) -> None:
        self._pipe = pipe
        self._pid = pid
        self._said = False

    def end_descendants(self) -> None:
        """Kills all that the driver has started, but not its guard."""
        _kill(one for one in descendants(os.getpid()) if one[0] != self._pid)

    def take_all(self) -> None:
        """At its end the driver takes all its descendants along, and says itself why it ends."""
        self._say(_SAID)

    def farewell(self) -> None:
        """The driver goes on without a guard, and whatever it has started lives on."""
        self._say(_FAREWELL)

    def close(self) -> None:
        """Lets the guard do what it was told."""
        with contextlib.suppress(OSError):
            self._pipe.close()

    def _say(self, what: bytes) -> None:
        if not self._said:
            self._said = True
            with contextlib.suppress(OSError):
                self._pipe.write(what)
                self._pipe.flush()


@contextlib.contextmanager
def guarded(last_words: str = "") -> Iterator[Guard]:
    """While inside, the death of this process, SIGKILL included, takes all its descendants with it.

    last_words: a line for stderr, where it dies without a word of its own.
    """
    driver = _own_identity()
    command = [sys.executable, "-I", "-S", str(Path(__file__)), *driver, last_words]
    before = os.environ.get(_MARK)
    os.environ[_MARK] = ":".join(driver)
    # In a session of its own: a terminal's Ctrl-C is for the driver alone.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - this very file
    guard = Guard(cast("IO[bytes]", process.stdin), process.pid)
    try:
        yield guard
    except (KeyboardInterrupt, SystemExit):
        guard.take_all()  # nobody has waited for the descendants
        raise
    finally:
        guard.farewell()
        guard.close()
        process.wait()
        os.environ.pop(_MARK) if before is None else os.environ.update({_MARK: before})


def _own_identity() -> tuple[str, str]:
    """Handed to the guard: asking for its parent, it might come too late, and take init for its driver."""
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
    """None where /proc is another namespace's: its numbers name other processes than ours."""
    if Path("/proc/self").readlink().name != str(os.getpid()):
        return []
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent_and_start(pid: int) -> tuple[int, str] | None:
    """Fields 4 and 22 of /proc/<pid>/stat; None once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return int(fields[1]), fields[19]


def _lives(one: Identity) -> bool:
    row = _parent_and_start(one[0])
    return row is not None and row[1] == one[1]


def _kill(processes: Iterable[Identity]) -> None:
    for one in processes:
        _signal(one, signal.SIGKILL)


def _watch(driver: Identity, last_words: str) -> None:
    """The guard's whole life."""
    seen: frozenset[Identity] = frozenset()
    said = b""
    pause_s = 0.0  # the first look is at once
    while said != _FAREWELL:
        if select.select([sys.stdin], [], [], pause_s)[0]:
            heard = os.read(sys.stdin.fileno(), 1)
            if not heard:
                break
            said = heard
        pause_s = _SCAN_S
        # All that ever descended from it and lives: with a raylet that dies, its agents lose their place in the tree.
        seen = frozenset(filter(_lives, seen)) | _below(driver)
    if said == _FAREWELL:
        return
    _end_all(seen, driver)
    if last_words and not said:
        with contextlib.suppress(OSError):
            os.write(2, f"{last_words}\n".encode())


def _end_all(known: frozenset[Identity], driver: Identity) -> None:
    """Kills them, all below them and all that bears the driver's mark: also what was born since it last looked.

    Stopped first: what is killed while its child is being born leaves an orphan.
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
    """All living processes that began with the driver's mark."""
    mark = f"{_MARK}={':'.join((str(driver[0]), driver[1]))}".encode()
    found = set()
    for pid in _process_ids():
        with contextlib.suppress(OSError):  # gone, or another user's
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and (row := _parent_and_start(pid)):
                found.add((pid, row[1]))
    return frozenset(found)


def _signal(one: Identity, number: signal.Signals) -> bool:
    """False where it is gone."""
    if not _lives(one):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(one[0], number)
    return True


def _below(driver: Identity) -> frozenset[Identity]:
    """Nothing where the driver is gone: another process may have its id by now.

    Process 1 may be a driver, as a container's entrypoint is; the machine's own has another start than any driver.
    """
    found = descendants(driver[0])
    return found if _lives(driver) else frozenset()


if __name__ == "__main__":
    _watch((int(sys.argv[1]), sys.argv[2]), sys.argv[3])
