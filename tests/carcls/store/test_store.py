import errno
import fcntl
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from carcls.errors import DataError, StoreError
from carcls.store import Store, default_store_root

KEY = {"kind": "test", "sizes": [1, 2]}
SPAWN = multiprocessing.get_context("spawn")


def fill_with(value: int, calls: list[int] | None = None):
    def build(blank) -> None:
        blank[:] = value
        if calls is not None:
            calls.append(value)

    return build


def left_over(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*.building"))


def build_in_child(root: Path, log: Path, start) -> None:
    def build(blank) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        blank[:] = 7

    start.wait(30)
    array = Store(root).get_or_build(KEY, (1000,), np.uint8, build)
    assert (array == 7).all()
    start.wait(30)  # all hold it at once: readers do not block each other


def hold_in_child(root: Path, is_held, is_done) -> None:
    """Builds the artefact, reports that, and keeps it open."""
    array = Store(root).get_or_build(KEY, (1000,), np.uint8, fill_with(7))
    is_held.set()
    is_done.wait(60)
    assert (array == 7).all()


def build_until_told(root: Path, has_started, may_go_on) -> None:
    def build(blank) -> None:
        blank[:] = 7
        has_started.set()
        may_go_on.wait(60)

    Store(root).get_or_build(KEY, (1000,), np.uint8, build)


def build_of(*assignments):
    def build(blank) -> None:
        for rows, values in assignments:
            blank[rows] = values

    return build


def test_rows_are_written_as_numpy_assigns_them(tmp_path):
    rng = np.random.default_rng(0)
    image, images = rng.integers(0, 256, (2, 5), np.uint8), rng.integers(0, 256, (3, 2, 5))
    assignments = [
        (0, image),
        (-1, 7),
        (slice(2, 5), images[:, ::-1]),
        (slice(5, 5), 9),
        (slice(-3, -2), 1.9),
        (8, image.T.T),
    ]
    expected = np.zeros((10, 2, 5), np.uint8)
    for rows, values in assignments:
        expected[rows] = values
    built = Store(tmp_path).get_or_build(KEY, (10, 2, 5), np.uint8, build_of(*assignments))
    assert np.array_equal(built, expected)
    floats = Store(tmp_path).get_or_build(KEY, (3,), np.float16, build_of((slice(None), [1.1, -2.0, np.nan])))
    assert np.array_equal(floats, np.array([1.1, -2.0, np.nan], np.float16), equal_nan=True)


@pytest.mark.parametrize("rows", [10, -11, slice(0, 4, 2), slice(3, 0, -1)])
def test_invalid_or_non_consecutive_rows_are_refused(tmp_path, rows):
    with pytest.raises(IndexError):
        Store(tmp_path).get_or_build(KEY, (10,), np.uint8, build_of((rows, 1)))
    assert not list(tmp_path.glob("*.npy"))


def test_leftovers_of_a_dead_builder_are_removed(tmp_path):
    """Rows that no builder assigns are zero."""
    Store(tmp_path).get_or_build(KEY, (4,), np.uint8, build_of((slice(None), 9)))
    [file] = tmp_path.glob("*.npy")
    file.rename(file.with_suffix(".building"))
    assert Store(tmp_path).get_or_build(KEY, (4,), np.uint8, build_of((1, 5))).tolist() == [0, 5, 0, 0]


def test_builds_once_and_maps_read_only(tmp_path):
    calls: list[int] = []
    store = Store(tmp_path / "store")
    first = store.get_or_build(KEY, (2, 3), np.float16, fill_with(5, calls))
    again = store.get_or_build(dict(reversed(KEY.items())), [2, 3], "float16", fill_with(6, calls))
    assert calls == [5]
    assert first.tolist() == again.tolist() == [[5.0] * 3] * 2
    assert (again.shape, again.dtype) == ((2, 3), np.float16)
    assert isinstance(again, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 1
    assert left_over(store.root) == []


def test_the_file_is_numpys_own_and_opens_without_pickles(tmp_path):
    Store(tmp_path).get_or_build(KEY, (2, 3), np.int32, fill_with(5))
    [file] = tmp_path.glob("*.npy")
    assert np.load(file, allow_pickle=False).tolist() == [[5] * 3] * 2
    with pytest.raises(ValueError, match="plain numbers"):
        Store(tmp_path).get_or_build(KEY, (2,), object, fill_with(1))


def test_a_pickled_store_is_the_same_store(tmp_path):
    store = Store(tmp_path, quota_bytes=5, enabled=False)
    assert pickle.loads(pickle.dumps(store)) == store  # noqa: S301 - our own bytes: what crosses to a worker


@pytest.mark.parametrize(
    ("key", "shape", "dtype"), [({**KEY, "x": None}, (4,), "uint8"), (KEY, (5,), "uint8"), (KEY, (4,), "int8")]
)
def test_another_key_shape_or_dtype_is_another_artefact(tmp_path, key, shape, dtype):
    store = Store(tmp_path)
    store.get_or_build(KEY, (4,), "uint8", fill_with(1))
    assert store.get_or_build(key, shape, dtype, fill_with(2))[0] == 2
    assert store.get_or_build(KEY, (4,), "uint8", fill_with(3))[0] == 1


@pytest.mark.parametrize("kept", [0, 5, 100, 128, 150, -4096, -1])
def test_a_truncated_file_is_found_on_open_and_rebuilt(tmp_path, kept):
    store = Store(tmp_path)
    store.get_or_build(KEY, (50,), np.uint8, fill_with(1))
    [file] = tmp_path.glob("*.npy")
    os.truncate(file, kept % file.stat().st_size)
    assert (store.get_or_build(KEY, (50,), np.uint8, fill_with(2)) == 2).all()


@pytest.mark.parametrize("place", [0, 60, -4000, -40, -20, -1])
def test_a_damaged_header_or_trailer_is_found_at_open_and_rebuilt(tmp_path, place):
    store = Store(tmp_path)
    store.get_or_build(KEY, (50,), np.uint8, fill_with(1))
    [file] = tmp_path.glob("*.npy")
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    assert (store.get_or_build(KEY, (50,), np.uint8, fill_with(2)) == 2).all()


def test_a_failing_builder_publishes_nothing(tmp_path):
    store = Store(tmp_path)

    def fail(blank) -> None:
        blank[:] = 9
        raise DataError("this photo is broken")

    with pytest.raises(DataError, match="this photo is broken") as caught:
        store.get_or_build(KEY, (5,), np.uint8, fail)
    assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob("*.building"))
    # `caught` still references the failed builder's array, which must not block others.
    assert store.get_or_build(KEY, (5,), np.uint8, fill_with(3))[0] == 3
    assert caught.tb is not None


def test_threads_build_once(tmp_path):
    calls: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        values = pool.map(
            lambda value: int(Store(tmp_path).get_or_build(KEY, (9,), np.uint8, fill_with(value, calls))[0]),
            range(1, 9),
        )
        assert set(values) == set(calls)
    assert len(calls) == 1


def test_processes_build_once(tmp_path):
    start = SPAWN.Barrier(3)
    children = [SPAWN.Process(target=build_in_child, args=(tmp_path / "s", tmp_path / "log", start)) for _ in "abc"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_try_build_returns_at_once_and_waiting_is_logged_repeatedly(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("carcls.store.build_progress._WAITING_EVERY_S", 0.001)
    has_started, may_go_on = SPAWN.Event(), SPAWN.Event()
    child = SPAWN.Process(target=build_until_told, args=(tmp_path, has_started, may_go_on))
    child.start()
    assert has_started.wait(60)
    store, never = Store(tmp_path), fill_with(0)
    assert store.try_build(KEY, (1000,), np.uint8, never) is None
    assert store.try_build({"kind": "other"}, (3,), np.uint8, fill_with(4)).tolist() == [4] * 3
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO, "carcls.store"):
        waiting = pool.submit(store.get_or_build, KEY, (1000,), np.uint8, never)
        while caplog.messages.count("waiting for test: another process builds it") < 3:
            assert not waiting.done()
        may_go_on.set()
        assert (waiting.result(60) == 7).all()
    child.join(60)
    assert child.exitcode == 0


def test_locks_are_released_when_a_process_is_killed(tmp_path):
    """The kernel owns the lock: kill -9 of a reader leaves nothing behind."""
    is_held, is_done = SPAWN.Event(), SPAWN.Event()
    child = SPAWN.Process(target=hold_in_child, args=(tmp_path, is_held, is_done))
    child.start()
    assert is_held.wait(60)
    [path] = tmp_path.glob("*.npy")
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_array_holds_its_file_and_releases_it(tmp_path):
    array = Store(tmp_path).get_or_build(KEY, (1000,), np.uint8, fill_with(1))
    part = array[10:20]
    del array
    [path] = tmp_path.glob("*.npy")
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert part.tolist() == [1] * 10
        del part
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_empty_artefact_needs_no_file(tmp_path):
    array = Store(tmp_path / "store").get_or_build(KEY, (0, 4, 4, 3), np.uint8, fill_with(1))
    assert array.shape == (0, 4, 4, 3)
    assert not (tmp_path / "store").exists()


def test_a_disabled_store_touches_nothing_and_logs_nothing(tmp_path, caplog):
    with pytest.raises(StoreError, match="off"):
        Store(tmp_path / "store", enabled=False).get_or_build(KEY, (3,), np.uint8, fill_with(1))
    assert not (tmp_path / "store").exists()
    assert caplog.text == ""


def test_a_failing_disk_is_reported_in_one_line(tmp_path, caplog):
    def full(_blank) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(3):
        with pytest.raises(
            StoreError, match=r"test of 3\.0 MB cannot be built: No space left on device; free some space"
        ):
            Store(tmp_path).get_or_build(KEY, (3_000_000,), np.uint8, full)
    [line] = caplog.messages
    assert line.startswith(
        f"store {tmp_path}: test of 3.0 MB cannot be built: No space left on device; free some space"
    )
    assert line.endswith("continuing without it: slower, with the same results")
    assert left_over(tmp_path) == []


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path):
    free = os.statvfs(tmp_path)
    beyond = free.f_bavail * free.f_frsize + 2**40
    calls: list[int] = []
    with pytest.raises(StoreError, match="No space left on device"):
        Store(tmp_path).get_or_build(KEY, (beyond,), np.uint8, fill_with(1, calls))
    assert calls == []
    assert not left_over(tmp_path) + list(tmp_path.glob("*.npy"))


def test_room_is_taken_before_the_builder_writes(tmp_path):
    """A full disk is detected before the work is done."""
    taken: list[int] = []

    def build(blank) -> None:
        [file] = tmp_path.glob("*.building")
        taken.append(file.stat().st_blocks * 512)

    Store(tmp_path).get_or_build(KEY, (3_000_000,), np.uint8, build)
    assert taken[0] >= 3_000_000


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(point)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_a_full_disk_is_reported_and_its_free_space_is_used(small_disk, caplog):
    store = Store(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_500_000))
    with pytest.raises(StoreError, match="No space left on device"):
        store.get_or_build(KEY, (1_000_000,), np.uint8, fill_with(1))
    assert len(caplog.messages) == 1
    assert left_over(small_disk) == []
    filler.unlink()
    assert (store.get_or_build(KEY, (1_000_000,), np.uint8, fill_with(2)) == 2).all()


def test_unused_artefacts_make_room_on_a_full_disk(small_disk):
    store = Store(small_disk)
    store.get_or_build({"kind": "old"}, (1_500_000,), np.uint8, fill_with(1))
    new = store.get_or_build({"kind": "new"}, (1_000_000,), np.uint8, fill_with(2))
    assert (new == 2).all()
    assert len(list(small_disk.glob("*.npy"))) == 1


def test_a_root_that_cannot_be_a_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"set store\.root"):
        Store(tmp_path / "file" / "store").get_or_build(KEY, (3,), np.uint8, fill_with(1))


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path))
    assert default_store_root() == tmp_path
    monkeypatch.delenv("CARSEARCH_STORE")
    assert default_store_root() == Path.home() / ".cache" / "carsearch" / "store"
