import errno
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from carcls.data.store import Store, default_store_root
from carcls.errors import DataError

KEY = {"kind": "test", "sizes": [1, 2]}


def fill_with(value: int, calls: list[int] | None = None):
    def build(array) -> None:
        assert not array.any()  # promised: zeroed
        array[:] = value
        if calls is not None:
            calls.append(value)

    return build


def build_in_child(root: Path, log: Path, start) -> None:
    def build(array) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        array[:] = 7

    start.wait(30)
    array = Store(root).get_or_build(KEY, (1000,), np.uint8, build)
    assert (array == 7).all()


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
    assert not list(store.root.glob("*.tmp"))


@pytest.mark.parametrize(
    ("key", "shape", "dtype"), [({**KEY, "x": None}, (4,), "uint8"), (KEY, (5,), "uint8"), (KEY, (4,), "int8")]
)
def test_another_key_shape_or_dtype_is_another_artefact(tmp_path, key, shape, dtype):
    store = Store(tmp_path)
    store.get_or_build(KEY, (4,), "uint8", fill_with(1))
    assert store.get_or_build(key, shape, dtype, fill_with(2))[0] == 2
    assert store.get_or_build(KEY, (4,), "uint8", fill_with(3))[0] == 1


@pytest.mark.parametrize("length", [0, 5, 100, 140])
def test_a_torn_file_is_found_at_open_and_rebuilt(tmp_path, length):
    store = Store(tmp_path)
    array = store.get_or_build(KEY, (50,), np.uint8, fill_with(1))
    [file] = tmp_path.glob("*.npy")
    del array
    os.truncate(file, length)
    assert (store.get_or_build(KEY, (50,), np.uint8, fill_with(2)) == 2).all()


def test_what_a_dead_builder_left_is_overwritten(tmp_path):
    store = Store(tmp_path)
    store.get_or_build(KEY, (50,), np.uint8, fill_with(1))
    [file] = tmp_path.glob("*.npy")
    file.rename(file.with_suffix(".tmp"))
    assert (store.get_or_build(KEY, (50,), np.uint8, fill_with(2)) == 2).all()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_failing_builder_publishes_nothing(tmp_path):
    store = Store(tmp_path)

    def fail(array) -> None:
        array[:] = 9
        raise DataError("this photo is broken")

    with pytest.raises(DataError, match="this photo is broken"):
        store.get_or_build(KEY, (5,), np.uint8, fail)
    assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob("*.tmp"))
    assert store.get_or_build(KEY, (5,), np.uint8, fill_with(3))[0] == 3


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
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    children = [context.Process(target=build_in_child, args=(tmp_path / "s", tmp_path / "log", start)) for _ in "abc"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_an_empty_artefact_needs_no_file(tmp_path):
    array = Store(tmp_path / "store").get_or_build(KEY, (0, 4, 4, 3), np.uint8, fill_with(1))
    assert array.shape == (0, 4, 4, 3)
    assert not (tmp_path / "store").exists()


def test_a_full_disk_is_one_clear_error(tmp_path):
    def full(_array) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match=r"artefact of 3\.0 MB: No space left on device.*set CARSEARCH_STORE"):
        Store(tmp_path).get_or_build(KEY, (3_000_000,), np.uint8, full)
    assert not list(tmp_path.glob("*.tmp"))


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path):
    free = os.statvfs(tmp_path)
    beyond = free.f_bavail * free.f_frsize + 2**40
    with pytest.raises(DataError, match="set CARSEARCH_STORE"):
        Store(tmp_path).get_or_build(KEY, (beyond,), np.uint8, fill_with(1))
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob("*.npy"))


def test_room_is_taken_before_the_builder_writes(tmp_path):
    """A write through a map to a full disk would kill the process: no page may be left to allocate."""
    taken: list[int] = []

    def build(array) -> None:
        [file] = tmp_path.glob("*.tmp")
        taken.append(file.stat().st_blocks * 512)

    Store(tmp_path).get_or_build(KEY, (3_000_000,), np.uint8, build)
    assert taken[0] >= 3_000_000


def test_a_root_that_cannot_be_a_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set CARSEARCH_STORE"):
        Store(tmp_path / "file" / "store").get_or_build(KEY, (3,), np.uint8, fill_with(1))


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path))
    assert default_store_root() == tmp_path
    monkeypatch.delenv("CARSEARCH_STORE")
    assert default_store_root() == Path.home() / ".cache" / "carsearch" / "store"
