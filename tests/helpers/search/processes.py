"""Real processes for the tests: runs the command in its own session, and lists its descendants."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

WAIT_S = 300.0
"""Timeout for a condition; generous, because test machines are busy."""


def start_cli(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Starts `carsearch ...` in its own session, with output to a file, so that no full pipe blocks it."""
    return subprocess.Popen(
        # A shell's background jobs ignore SIGINT, and so would what they start.
        ["env", "--default-signal=INT", sys.executable, "-m", "search.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=(cwd / "output.txt").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_cli(*arguments: str, cwd: Path, within_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
    """Runs `carsearch ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "search.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = WAIT_S) -> float:
    """Seconds until the condition held. Fails, naming the condition, on timeout."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise AssertionError(f"{what}: not within {within_s:g} s")
        time.sleep(0.05)
    return time.monotonic() - started


def descendants(root: int) -> dict[int, str]:
    """Ids and command lines of all descendants of a living process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: dict[int, str] = {}
    new = {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new and pid not in found}
        found |= {pid: command(pid) for pid in new}
    return found


def children_below(root: int) -> frozenset[int]:
    """Processes of trials: those forked by a fork server below `root`."""
    servers = {pid for pid, name in descendants(root).items() if "multiprocessing.forkserver" in name}
    return frozenset(pid for pid in servers if parent_of(pid) in servers)


def parent_of(pid: int) -> int:
    """0 once the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command(pid: int) -> str:
    """A process's command line; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """False for zombies, which hold no resources."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pids: Iterable[int]) -> None:
    """Sends SIGKILL to all that still run, so that a failed test leaves none behind."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
