"""One stock search, by as many drivers as it takes: started, killed, watched. Nothing of it is left behind.

Only processes that descend from a driver started here are ever signalled.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.stock_notes import Note, of, read_notes
from benchmarks.peers.stock_script import EXPERIMENT, Setup

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.1
RAY_STARTS = 3


class StoodStillError(Exception):
    """What was awaited did not come."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a driver's death left behind. Seconds from its death; None: longer than was waited."""

    worker_s: float | None
    """Until the trial's process was gone."""
    all_s: float | None
    """Until every process was."""
    outlived: tuple[str, ...]
    """Names of those that were left."""


class Life:
    """A folder of its own under `parent` (a short path: Ray's sockets lie below it). Use as a context.

    prefix: a command that runs the driver in another place, such as `nsenter`; storage: where the search lies, if not
    in the own folder. The search's own processes end when the context does.
    """

    def __init__(
        self, parent: Path, setup: Setup, *, prefix: Sequence[str] = (), storage: Path | None = None, patience_s: float
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="s", dir=parent))
        self.storage = storage or self.folder / "out"
        self.setup = setup
        self.patience_s = patience_s
        """How long nothing may happen before it counts as standing still."""
        self.drivers: list[subprocess.Popen[bytes]] = []
        self._prefix = tuple(prefix)
        self._seen: set[tuple[int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        kill(pid for pid, began in self._seen if start_of(pid) == began)
        for driver in self.drivers:
            driver.wait()

    @property
    def driver(self) -> subprocess.Popen[bytes]:
        """The latest."""
        return self.drivers[-1]

    @property
    def experiment(self) -> Path:
        return self.storage / EXPERIMENT

    def start(self) -> None:
        """A new search, or the restored one; returns once Ray has started. Raises StoodStillError where it never does.

        A busy machine may starve Ray's start, which says nothing about the search: tried three times.
        """
        number = len(self.drivers)
        for attempt in range(RAY_STARTS):
            self.drivers[number:] = [self._popen(number, self.folder / f"r{number}{attempt}")]
            self.wait_for_end_or(lambda: any(note.life == number for note in self.notes("ready")))
            if any(note.life == number for note in self.notes("ready")):
                return
        raise StoodStillError(f"Ray did not start, {RAY_STARTS} times:\n{self.output()[-2000:]}")

    def _popen(self, number: int, ray: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.peers.stock_script", str(self.storage), "--ray", str(ray)]
        return subprocess.Popen(
            [*self._prefix, *command],
            cwd=ROOT,
            env={
                **os.environ,
                **self.setup.environment(number, self.folder / "notes"),
                "PYTHONPATH": str(ROOT),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_worker_niceness": "0",  # Ray's 15 would starve its workers, and nothing else, on a shared machine
            },
            stdout=(self.folder / f"output{number}").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def notes(self, *events: str) -> list[Note]:
        """Of all drivers; only these events, where any is named."""
        notes = read_notes(self.folder / "notes")
        return of(notes, *events) if events else notes

    def output(self, life: int = -1) -> str:
        """What a driver and its workers printed."""
        number = range(len(self.drivers))[life]
        return (self.folder / f"output{number}").read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """The first sentence of the latest driver's last line: the error where it ended by one."""
        return (self.output().strip().splitlines() or ["nothing"])[-1].partition(". ")[0]

    def result(self) -> list[dict[str, Any]]:
        """The trials as the latest driver returned them; none where it did not come so far."""
        lines = [line for line in self.output().splitlines() if line.startswith("RESULT ")]
        return json.loads(lines[-1].removeprefix("RESULT "))["trials"] if lines else []

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Raises StoodStillError once nothing was noted for `patience_s`, or where the driver ends before."""
        self.wait_for_end_or(condition, what)
        if not condition():
            raise StoodStillError(
                f"the driver ended ({self.driver.returncode}) before {what}:\n{self.output()[-2000:]}"
            )

    def wait_for_end_or(self, condition: Callable[[], bool], what: str = "a moment") -> None:
        """The same, content with the driver's end."""
        self._wait(lambda: condition() or self.driver.poll() is not None, what)

    def wait_for_new(self, event: str, count: int = 1) -> None:
        """Until so many more such notes are there than now."""
        wanted = len(self.notes(event)) + count
        self.wait_for(lambda: len(self.notes(event)) >= wanted, f"{count} more {event}")

    def wait(self) -> int:
        """The latest driver's exit code, once all have ended. Raises StoodStillError."""
        self._wait(lambda: all(driver.poll() is not None for driver in self.drivers), "the search's end")
        return self.driver.returncode

    def signal_worker(self, number: signal.Signals) -> None:
        """To the process of the trial that began last, in the middle of an epoch that has just begun."""
        time.sleep(self.setup.epoch_s / 2)
        os.kill(self.notes("started")[-1].pid, number)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        file = self.folder / "notes"
        newest = time.monotonic()
        size = -1
        while not condition():
            self.look()
            now = file.stat().st_size if file.exists() else 0
            if now != size:
                size, newest = now, time.monotonic()
            if time.monotonic() - newest > self.patience_s:
                raise StoodStillError(f"{what}: nothing happened for {self.patience_s:g} s")
            time.sleep(POLL_S)

    def look(self) -> set[tuple[int, str]]:
        """Every living process of this search, by id and start; remembered, so that nothing of it is left behind."""
        roots = {driver.pid for driver in self.drivers if driver.poll() is None}
        below = {pid for root in roots for pid in descendants(root)}
        self._seen |= {(pid, began) for pid in roots | below if (began := start_of(pid))}
        return {(pid, began) for pid, began in self._seen if start_of(pid) == began}

    def kill(self) -> None:
        """SIGKILL to the driver alone."""
        self.look()
        kill([self.driver.pid])
        self.driver.wait()

    def leftovers(self, within_s: float) -> Leftovers:
        """What lives on once the drivers are gone; what outlives the limit is ended."""
        started = time.monotonic()
        workers = {note.pid for note in self.notes("started")}
        worker_s: float | None = None
        while left := self.look():
            waited_s = time.monotonic() - started
            if worker_s is None and not workers & {pid for pid, _ in left}:
                worker_s = waited_s
            if waited_s > within_s:
                names = tuple(sorted(name_of(pid) for pid, _ in left))
                kill(pid for pid, _ in left)
                return Leftovers(worker_s, None, names)
            time.sleep(POLL_S)
        all_s = time.monotonic() - started
        return Leftovers(worker_s if worker_s is not None else all_s, all_s, ())


def descendants(root: int) -> set[int]:
    """Of a living process, itself left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    new = [root]
    while new:
        new = [child for pid in new for child in children.get(pid, ()) if child not in found]
        found.update(new)
    return found


def start_of(pid: int) -> str:
    """When a process began, in the system's ticks; empty once it is gone, a zombie's too."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _stat(pid: int) -> list[str]:
    """/proc's fields from the state on; none once the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def name_of(pid: int) -> str:
    """As the kernel keeps it: 15 characters; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
