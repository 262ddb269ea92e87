"""Counts of store use, and build times measured with a manual clock."""

import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.errors import DataError, StoreError
from carcls.events import StoreUse
from carcls.store import Store, exclude_seconds, take_use, usage
from carcls.store.artefact import Artefact, Trailer
from carcls.store.files import read_trailer
from carcls.store.usage import BuildTimer, count_built, count_reused

OUTER, INNER = {"kind": "features"}, {"kind": "pixels"}
SPAWN = multiprocessing.get_context("spawn")


class Clock:
    """A clock that only advances manually."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    turned = Clock()
    monkeypatch.setattr("time.perf_counter", turned)
    return turned


@pytest.fixture(autouse=True)
def _nothing_used_before():
    take_use()


def building(clock: Clock, seconds: float, value: int = 1):
    """A build of the given duration."""

    def build(blank) -> None:
        clock.now_s += seconds
        blank[:] = value

    return build


def build_s(store: Store, kind: str) -> float | None:
    trailers = [read_trailer(path) for path in store.root.glob("*.npy")]
    [seconds] = [trailer.build_s for trailer in trailers if trailer.artefact.key["kind"] == kind]
    return seconds


def test_a_timer_excludes_nested_timers(clock):
    failed = BuildTimer()

    def fail() -> None:
        with failed:
            clock.now_s += 16
            raise DataError("this photo is broken")

    with BuildTimer() as outer:
        clock.now_s += 1
        with BuildTimer() as middle:
            clock.now_s += 2
            with BuildTimer() as innermost:
                clock.now_s += 4
            clock.now_s += 8
        with pytest.raises(DataError):
            fail()
        clock.now_s += 32
    assert (outer.own_s, middle.own_s, innermost.own_s, failed.own_s) == (33, 10, 4, 16)
    with BuildTimer() as later:
        clock.now_s += 64
    assert later.own_s == 64


def test_a_timer_ignores_other_threads(clock):
    inner_runs, may_end = threading.Event(), threading.Event()

    def other() -> float:
        with BuildTimer() as stopwatch:
            inner_runs.set()
            may_end.wait(60)
        return stopwatch.own_s

    with ThreadPoolExecutor(1) as pool, BuildTimer() as outer:
        future = pool.submit(other)
        assert inner_runs.wait(60)
        clock.now_s += 3
        may_end.set()
        assert future.result(60) == 3
    assert outer.own_s == 3


def test_build_time_excludes_the_artefacts_it_depends_on(tmp_path, clock):
    store = Store(tmp_path)

    def features(blank) -> None:
        clock.now_s += 2
        store.get_or_build(INNER, (4,), np.uint8, building(clock, 5))
        store.get_or_build(INNER, (4,), np.uint8, building(clock, 1000))
        clock.now_s += 1
        blank[:] = 1

    store.get_or_build(OUTER, (3,), np.uint8, features)
    assert (build_s(store, "features"), build_s(store, "pixels")) == (3.0, 5.0)
    assert take_use() == StoreUse(built=2, reused=1, built_s=8.0, saved_s=5.0)


def test_excluded_seconds_do_not_count(tmp_path, clock):
    def features(blank) -> None:
        clock.now_s += 9
        exclude_seconds(6.0)
        blank[:] = 1

    Store(tmp_path).get_or_build(OUTER, (3,), np.uint8, features)
    exclude_seconds(1000.0)  # outside of any build
    assert build_s(Store(tmp_path), "features") == 3.0
    assert take_use() == StoreUse(built=1, built_s=3.0)


def test_waiting_for_another_build_is_not_counted_as_building(tmp_path, clock, caplog):
    store, started, may_end = Store(tmp_path), threading.Event(), threading.Event()

    def slow(blank) -> None:
        started.set()
        may_end.wait(60)
        clock.now_s += 100
        blank[:] = 1

    def features(blank) -> None:
        clock.now_s += 2
        store.get_or_build(INNER, (4,), np.uint8, building(clock, 1000))
        blank[:] = 1

    with ThreadPoolExecutor(2) as pool, caplog.at_level(logging.INFO, "carcls.store"):
        pixels = pool.submit(store.get_or_build, INNER, (4,), np.uint8, slow)
        assert started.wait(60)
        made = pool.submit(store.get_or_build, OUTER, (3,), np.uint8, features)
        while "waiting for pixels" not in caplog.text:
            assert not made.done()
        may_end.set()
        pixels.result(60)
        made.result(60)
    assert build_s(store, "features") == 2.0


def test_each_reuse_saves_what_the_build_took(tmp_path, clock):
    Store(tmp_path).get_or_build(INNER, (4,), np.uint8, building(clock, 7))
    assert take_use() == StoreUse(built=1, built_s=7.0)
    for _ in range(3):
        Store(tmp_path).get_or_build(INNER, (4,), np.uint8, building(clock, 1000))
    assert Store(tmp_path).try_build(INNER, (4,), np.uint8, building(clock, 1000)) is not None
    assert take_use() == StoreUse(reused=4, saved_s=28.0)
    assert take_use() == StoreUse()


def test_failed_builds_are_not_counted(tmp_path, clock):
    def fail(_blank) -> None:
        raise DataError("this photo is broken")

    with pytest.raises(DataError):
        Store(tmp_path).get_or_build(INNER, (4,), np.uint8, fail)
    with pytest.raises(StoreError):
        Store(tmp_path, enabled=False).get_or_build(INNER, (4,), np.uint8, building(clock, 1))
    Store(tmp_path).get_or_build(INNER, (0,), np.uint8, building(clock, 1))
    assert take_use() == StoreUse()


def test_an_older_file_without_build_seconds_is_used(tmp_path, clock):
    store = Store(tmp_path)
    store.get_or_build(INNER, (4,), np.uint8, building(clock, 7))
    [path] = tmp_path.glob("*.npy")
    trailer = read_trailer(path)
    with path.open("rb+") as file:
        file.seek(trailer.artefact.content_end)
        file.write(replace(trailer, build_s=None).pack())
    take_use()
    assert store.get_or_build(INNER, (4,), np.uint8, building(clock, 7, value=2)).tolist() == [1] * 4
    assert build_s(store, "pixels") is None
    assert take_use() == StoreUse(reused=1)


@given(st.integers(min_value=0, max_value=10**18).map(lambda nanoseconds: nanoseconds / 1e9))
def test_build_seconds_are_stored_in_a_fixed_length(seconds):
    artefact = Artefact.of(INNER, (4,), np.uint8)
    packed = Trailer.now(artefact, "0" * 64, build_s=seconds).pack()
    kept = Trailer.unpack(packed)
    assert kept.build_s == pytest.approx(seconds, rel=5e-4)
    assert kept.pack() == packed, "what is read is what was written, or the store takes the file for torn"
    padding = b" " * 8
    assert packed.index(padding) == Trailer.now(artefact, "0" * 64, build_s=0.0).pack().index(padding)


def test_threads_lose_no_count():
    with ThreadPoolExecutor(8) as pool:
        for _ in range(400):
            pool.submit(count_reused, 0.5)
            pool.submit(count_built, 0.25)
    assert take_use() == StoreUse(built=400, reused=400, built_s=100.0, saved_s=200.0)


def fork_with_counts() -> None:
    """Runs in a separate process without threads, which may fork."""
    count_reused(2.0)
    with usage._counter._lock:  # as another thread of the parent may do at that moment
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            count_built(1.0)
            os._exit(0 if take_use() == StoreUse(built=1, built_s=1.0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert take_use() == StoreUse(reused=1, saved_s=2.0)


def test_a_forked_child_starts_from_zero():
    process = SPAWN.Process(target=fork_with_counts)
    process.start()
    process.join(120)
    assert process.exitcode == 0
