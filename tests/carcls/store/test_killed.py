"""After a builder is killed at any of ten points, the next one builds the complete artefact."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np

from carcls.store import Store
from carcls.store.damage import verify

POINTS = 10
KEY = {"kind": "test"}
EXPECTED = np.arange(64 * 1000, dtype=np.float32).reshape(64, 1000)


def build(blank) -> None:
    for row, expected in enumerate(EXPECTED):
        blank[row] = expected


def count_calls(limit: int | None = None) -> list[int]:
    """Counts this thread's calls into C. Before call number `limit` the process dies as with kill -9."""
    count = [0]

    def profile(_frame, event, _function) -> None:
        if event == "c_call":
            count[0] += 1
            if count[0] == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    return count


def killed_at(root: Path, limit: int) -> None:
    child = os.fork()
    if child == 0:
        count_calls(limit)
        Store(root).get_or_build(KEY, EXPECTED.shape, EXPECTED.dtype, build)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_and_build(folder: Path) -> None:
    """Runs in a separate process without threads, which may fork."""
    Store(folder / "imports").get_or_build(KEY, EXPECTED.shape, EXPECTED.dtype, build)
    calls = count_calls()
    Store(folder / "whole").get_or_build(KEY, EXPECTED.shape, EXPECTED.dtype, build)
    sys.setprofile(None)
    published = []
    for point in range(POINTS):
        root = folder / f"killed-{point}"
        killed_at(root, 1 + point * calls[0] // POINTS)
        published.append(bool(list(root.glob("*.npy"))))
        array = Store(root).get_or_build(KEY, EXPECTED.shape, EXPECTED.dtype, build)
        assert np.array_equal(array, EXPECTED)
        assert not list(root.glob("*.building"))
        assert [verdict.is_whole for verdict in verify(root)] == [True]
    assert published == sorted(published)  # from some point on, only complete artefacts
    assert not published[-2]


def test_a_builder_killed_at_ten_points_leaves_nothing_in_the_way(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=kill_and_build, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert len(list(tmp_path.glob("killed-*"))) == POINTS
