"""One study, run by as many drivers as are killed at named points."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from tests.helpers import ROOT
from tests.helpers.search.processes import WAIT_S, command, is_alive, kill, wait_until
from tests.helpers.search.ran import read_records

HELPERS = ROOT / "tests" / "helpers" / "search"
ALIVE_AFTER_KILL_S = 5.0


@dataclass(frozen=True)
class Death:
    """One driver's end."""

    where: str
    epochs: int
    """Epochs recorded when it died."""
    repeated: tuple[tuple[int, int], ...]
    """(trial, epoch) pairs that an earlier driver had trained already."""
    gone_s: float
    """Seconds until none of its processes was left."""

    def row(self) -> str:
        again = ", ".join(f"{trial:04d}/{epoch}" for trial, epoch in self.repeated) or "none"
        return f"{self.where:24}  {self.epochs:6}  {again:24}  {self.gone_s:4.1f} s"


class Life:
    """One study, run by as many drivers as it takes."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.folder = StudyFolder(cwd / "results" / "tiny")
        self.checkpoints = cwd / "checkpoints.txt"
        self.deaths: list[Death] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = ""

    def start(self, where: str) -> None:
        """`carsearch run` if there is no study yet, else `carsearch resume`."""
        resume = ("resume", str(self.folder.root)) if self.folder.root.exists() else ("run", "tiny.yaml")
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            [sys.executable, str(HELPERS / "kill_driver.py"), where, *resume],
            cwd=self.cwd,
            env={
                **os.environ,
                "PYTHONPATH": f"{HELPERS / 'killing'}:{ROOT}",
                "KILL_AT": where,
                "KILL_CHECKPOINTS": str(self.checkpoints),
                "KILL_MARK": self._mark,
            },
            stdout=(self.cwd / "output.txt").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def killed(self, where: str, stop: Callable[[], None] = lambda: None, *, label: str = "") -> bool:
        """Runs a driver until it dies at `where` or is killed by `stop`. Returns False if the search ended first."""
        recorded = {record.number: record.fidelity for record in self.records()}
        before = self.trained()
        self.start(where)
        stop()
        code = self.wait()
        try:
            gone_s = wait_until(lambda: not self.left(), f"an end to {where}'s processes", within_s=ALIVE_AFTER_KILL_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; exit code {code}, left: {self.left()}\n{self.output}") from error
        mine = self.trained()[len(before) :]
        for trial, epoch in mine:
            assert epoch > recorded.get(trial, 0), f"{where}: epoch {epoch} of trial {trial} was recorded, and repeated"
        records = self.records()
        assert all(records[number].fidelity >= fidelity for number, fidelity in recorded.items()), "nothing is lost"
        assert code in (-signal.SIGKILL, 0), self.output
        if code == 0:
            return False
        repeated = tuple(one for one in mine if one in before)
        self.deaths.append(Death(label or where, sum(record.fidelity for record in records), repeated, gone_s))
        return True

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=WAIT_S)

    def kill_after(self, writes: int, then_s: float) -> None:
        """Sends SIGKILL once the driver has written so many lines and a while has passed, unless it ends first."""
        assert self._process is not None
        lines = self.lines()
        wait_until(lambda: self._process.poll() is not None or self.lines() >= lines + writes, "lines of the journal")
        try:
            self._process.wait(timeout=then_s)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def lines(self) -> int:
        return self.folder.log.read_bytes().count(b"\n") if self.folder.log.exists() else 0

    def left(self) -> list[str]:
        """Living processes of the latest driver, found by its mark in their environment."""
        return [command(pid) for pid in self._marked()]

    def end(self) -> None:
        kill(self._marked())

    def _marked(self) -> list[int]:
        mark = f"KILL_MARK={self._mark}".encode()
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, mark)]

    def trained(self) -> list[tuple[int, int]]:
        """(trial, epoch) of every checkpoint that was written, over all drivers, in order."""
        if not self.checkpoints.exists():
            return []
        rows = (line.split() for line in self.checkpoints.read_text(encoding="utf-8").splitlines())
        return [(int(trial), int(epoch)) for _, trial, _, epoch in rows]

    def records(self) -> tuple[TrialRecord, ...]:
        return read_records(self.folder) if self.folder.log.exists() else ()

    @property
    def output(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8", errors="replace")

    def table(self) -> str:
        head = f"{'driver killed at':24}  {'epochs':6}  {'trained again':24}  all gone after"
        return "\n".join(("", head, *(death.row() for death in self.deaths)))


def _has(entry: Path, mark: bytes) -> bool:
    try:
        return mark in (entry / "environ").read_bytes() and is_alive(int(entry.name))
    except OSError:  # the process is gone or belongs to another user
        return False


def recorded_states(folder: StudyFolder) -> Iterator[tuple[int, str]]:
    """(trial, state), in the order of the journal."""
    return ((trial, status["state"]) for trial, status in recorded_statuses(folder))


def recorded_statuses(folder: StudyFolder) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in folder.log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        status = entry.get("user_attr", {}).get("status")
        if status and "trial_id" in entry:
            yield entry["trial_id"], status


def decisions(folder: StudyFolder) -> list[tuple[int, int, int | None]]:
    """(trial, stage to stop after, run_to_end_at) of each job, in order. Jobs handed out again count once."""
    jobs: list[tuple[int, int, int | None]] = []
    for trial, status in recorded_statuses(folder):
        job = (trial, status["stop_after_stage"], status["carried_at"])
        if status["state"] == TrialState.RUNNING and job not in jobs:
            jobs.append(job)
    return jobs
