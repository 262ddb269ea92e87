"""Checks a policy file in a separate process, so that one that takes minutes or gigabytes per photo can be rejected.

Also that program: `python -P -m carcls.augment.policy_probe FILE [rectangles]` writes one line of JSON, the reason why
the file is not a valid policy, or null.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from carcls.augment.policy_file import read_policy_file
from carcls.errors import ConfigError
from carcls.system.module_path import without_current_folder

DEADLINE_S = 90.0
"""For a whole file, including the import of albumentations. A policy of 20 transforms takes 3 s."""
_MEMORY_BYTES = 2 * 2**30
"""Allowed in addition to the memory that the process has at its start."""
_RECTANGLES = "rectangles"


def check_policy_file(path: str, *, rectangles: bool = False, deadline_s: float = DEADLINE_S) -> None:
    """Raises ConfigError if the file is not a valid policy, or if checking it takes over `deadline_s` or 2 GB.

    rectangles: whether it must keep the shape of photos that are no squares.
    """
    wanted = [_RECTANGLES] if rectangles else []
    try:
        with without_current_folder():
            ran = subprocess.run(  # noqa: S603  # our own program and a path that it opens
                [sys.executable, "-P", "-m", "carcls.augment.policy_probe", path, *wanted],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=deadline_s,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{path}: could not be tried on a few photos of 128 px within {deadline_s:g} s: remove the slow transform,"
            " or reduce its parameters"
        ) from None
    try:
        reason = json.loads(ran.stdout)
    except ValueError:
        raise ConfigError(
            f"{path}: the process that checked it died ({_signal_or_code(ran.returncode)}): remove the transform that"
            " uses so much memory, or reduce its parameters"
        ) from None
    if reason is not None:
        raise ConfigError(reason)


def _signal_or_code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def main() -> None:
    """Writes only the answer to stdout; anything that libraries print goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    virtual_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    allowed = virtual_pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.RLIM_INFINITY))
    try:
        policy = read_policy_file(sys.argv[1])
        if sys.argv[2:] == [_RECTANGLES]:
            policy.check_rectangles()
        reason = None
    except ConfigError as error:
        reason = str(error)
    json.dump(reason, answer)
    answer.close()


if __name__ == "__main__":
    main()
