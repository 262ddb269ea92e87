"""Imported by every Python of a `kill_driver.py` search, trials' processes included: kills the driver about a rename.

Each checkpoint has a line in the file KILL_CHECKPOINTS, `driver trial attempt epoch`, before it gets its name. At the
NTH of its driver, where KILL_AT is `checkpoint:WHEN:NTH`, the driver dies; the trial stands still until it is ended.
"""

import os
import re
import signal
import time

_NAME = re.compile(r"/trials/(\d+)/attempt-(\d+)/epoch-(\d+)\.npz$")
_replace = os.replace


def _watched(source: str, target: str) -> None:
    found = _NAME.search(os.fspath(target))
    dies_at = found and _write(*found.groups())
    if dies_at == "before":
        _kill()
    _replace(source, target)
    if dies_at == "after":
        _kill()


def _write(*checkpoint: str) -> str | None:
    """When the driver is to die; None for a checkpoint at which it lives on."""
    driver, path = os.environ["KILL_DRIVER"], os.environ["KILL_CHECKPOINTS"]
    with open(path, "a+", encoding="utf-8") as log:  # noqa: PTH123 - no pathlib: this is part of starting Python
        log.write(" ".join((driver, *checkpoint)) + "\n")
        log.flush()
        log.seek(0)
        count = sum(line.startswith(f"{driver} ") for line in log)
    point, when, nth = os.environ["KILL_AT"].split(":")
    return when if point == "checkpoint" and count == int(nth) else None


def _kill() -> None:
    os.kill(int(os.environ["KILL_DRIVER"]), signal.SIGKILL)
    time.sleep(600)


if "KILL_CHECKPOINTS" in os.environ:
    os.replace = _watched
