"""Runs Python on a small private filesystem that fills up quickly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_on_a_small_disk(script: str, folder: Path, *, size: str) -> str:
    """Runs `script` in `folder`, over which a filesystem of that size is mounted; returns what it printed.

    Skips the test where nothing can be mounted.
    """
    unshared = ["unshare", "--mount", "sh", "-c"]
    mount = f'mount -t tmpfs -o size={size} none "$1" && cd "$1"'
    try:
        tried = subprocess.run([*unshared, mount, "sh", str(folder)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `unshare` here")
    if tried.returncode:
        pytest.skip("no filesystem can be mounted here")
    done = subprocess.run(
        [*unshared, f'{mount} && exec "$2" -c "$3"', "sh", str(folder), sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
