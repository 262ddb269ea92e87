"""Runs carsearch as a driver that kills itself: `kill_driver.py POINT:WHEN:NTH ARGUMENT...`; `never::0` kills none.

WHEN is `before` or `after` the NTH passing of the point in this process, or `torn`: in the middle of it. The points of
`checkpoint` are in another process: see killing/sitecustomize.py.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.policy.policy import SearchPolicy
from search.policy.records import TrialRecord, TrialState
from search.study.record.journal_file import WholeLines
from search.study.study import Study

Call = Callable[..., Any]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Point:
    """A function at which to die; `matches` selects the calls that count."""

    def __init__(self, owner: object, name: str, matches: Callable[..., bool] = lambda *_: True) -> None:
        self.owner, self.name, self.matches = owner, name, matches
        self.passed = 0

    def arm(self, when: str, nth: int) -> None:
        real: Call = getattr(self.owner, self.name)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            counts = self.matches(*arguments)
            self.passed += counts
            now = counts and self.passed == nth
            if now and when == "before":
                die()
            if now and when == "torn":
                tear(*arguments)
            result = real(*arguments, **more)
            if now and when == "after":
                die()
            return result

        setattr(self.owner, self.name, wrapped)


def tear(journal: WholeLines, logs: list[dict[str, Any]]) -> None:
    """Writes half of an append with its lock held, then stops."""
    import json

    line = json.dumps(logs[0]).encode()
    journal._lock.acquire()
    with Path(journal._file_path).open("ab", buffering=0) as file:
        file.write(line[: len(line) // 2])
    die()


def is_promotion(study: Study, number: int, *_: object, **__: object) -> bool:
    return study.record(number).state is TrialState.PAUSED


def is_completion(_: Study, changed: TrialRecord) -> bool:
    """True at a segment's end, and when a resume finds a segment that had ended."""
    return changed.state is TrialState.COMPLETE


def is_pruning(study: Study, _: TrialRecord) -> bool:
    """True for the first change of a trial after the study was marked as finished."""
    return study.is_finished


def is_report(journal: object, logs: list[dict[str, Any]]) -> bool:
    return any(key.startswith("report:") for log in logs for key in log.get("user_attr", {}))


def is_birth(source: object, target: object) -> bool:
    return Path(os.fspath(target)).name == "tiny"


POINTS = {
    "birth": Point(os, "rename", is_birth),
    "decision": Point(SearchPolicy, "next_job"),
    "ask": Point(SearchPolicy, "propose"),
    "hand-out": Point(Study, "start_segment"),
    "report": Point(Study, "report"),
    "append": Point(WholeLines, "append_logs", is_report),
    "end": Point(Study, "_change", is_completion),
    "promotion": Point(Study, "start_segment", is_promotion),
    "finish": Point(Study, "finish"),
    "pruning": Point(Study, "_change", is_pruning),
}

if __name__ == "__main__":
    name, moment, number = sys.argv[1].split(":")
    os.environ["KILL_DRIVER"] = str(os.getpid())
    if name in POINTS:
        POINTS[name].arm(moment, int(number))
    sys.argv = ["carsearch", *sys.argv[2:]]
    from search.cli.app import main

    main()
