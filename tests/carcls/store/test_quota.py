"""Quota and eviction: the pure choice, then with several processes."""

import contextlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.errors import StoreError
from carcls.store import Store
from carcls.store.artefact import Artefact
from carcls.store.files import exclusive
from carcls.store.inventory import Entry, clean
from carcls.store.quota import victims

SHAPE = (100, 1000)
FILE_BYTES = Artefact.of({"number": 0}, SHAPE, np.uint8).file_bytes
QUOTA_BYTES = 5 * FILE_BYTES
SPAWN = multiprocessing.get_context("spawn")


def numbered(store: Store, number: int) -> np.ndarray:
    def build(blank) -> None:
        blank[:] = number

    return store.get_or_build({"number": number}, SHAPE, np.uint8, build)


def path_of(root: Path, number: int) -> Path:
    return root / f"{Artefact.of({'number': number}, SHAPE, np.uint8).address}.npy"


def numbers_in(root: Path) -> set[int]:
    return {number for number in range(20) if path_of(root, number).exists()}


def stored_bytes(root: Path) -> int:
    """Holds the lock, so that nothing is added meanwhile, and looks again after a concurrent rename."""
    with exclusive(root / "room.lock", wait=True):
        while True:
            with contextlib.suppress(FileNotFoundError):
                files = [path.stat() for path in root.glob("*") if path.suffix in (".npy", ".building")]
                return sum({file.st_ino: file.st_size for file in files}.values())


entries = st.builds(
    Entry,
    path=st.integers(0, 10**9).flatmap(lambda n: st.sampled_from([Path(f"{n}.npy"), Path(f"{n}.building")])),
    size_bytes=st.integers(1, 100),
    last_use_unix_s=st.floats(0, 1000),
    is_held=st.booleans(),
)


@given(st.lists(entries, max_size=8), st.integers(-50, 400))
def test_victims_suffice_are_unlocked_and_least_recently_used(stock, excess):
    chosen = victims(stock, excess)
    unheld = [entry for entry in stock if not entry.is_held]
    if chosen is None:
        assert sum(entry.size_bytes for entry in unheld) < excess
        return
    assert all(entry in unheld for entry in chosen)
    assert sum(entry.size_bytes for entry in chosen) >= excess
    if chosen:  # not more than needed
        assert sum(entry.size_bytes for entry in chosen[:-1]) < excess
    spared = [entry for entry in unheld if entry not in chosen]
    for victim in chosen:
        for entry in spared:
            assert (victim.is_finished, victim.last_use_unix_s) <= (entry.is_finished, entry.last_use_unix_s)


def test_the_least_recently_used_goes_first(tmp_path):
    store = Store(tmp_path, quota_bytes=3 * FILE_BYTES)
    for number in (0, 1, 2, 0, 3):  # 0 is used again before 3 needs room
        numbered(store, number)
    assert numbers_in(tmp_path) == {0, 2, 3}


def test_compiled_programs_count_and_get_a_tenth(tmp_path):
    store = Store(tmp_path, quota_bytes=QUOTA_BYTES)
    folder, limit_bytes = store.compiled_programs
    assert limit_bytes == QUOTA_BYTES // 10
    assert Store(tmp_path).compiled_programs == (folder, 2_000_000_000)
    assert Store(tmp_path, enabled=False).compiled_programs is None
    (folder / "jax-1").mkdir(parents=True)
    (folder / "jax-1" / "step").write_bytes(bytes(2 * FILE_BYTES))
    for number in range(4):
        numbered(store, number)
    assert numbers_in(tmp_path) == {1, 2, 3}
    assert clean(tmp_path, kind="pixels") == 0
    assert folder.exists()
    assert clean(tmp_path) >= 2 * FILE_BYTES
    assert not folder.exists()


def test_open_artefacts_are_never_evicted(tmp_path, caplog):
    store = Store(tmp_path, quota_bytes=3 * FILE_BYTES)
    held = {number: numbered(store, number) for number in (0, 1)}
    for number in (2, 3, 4):
        assert (numbered(store, number) == number).all()
    assert numbers_in(tmp_path) == {0, 1, 4}
    held[2] = numbered(store, 2)
    with pytest.raises(StoreError, match=r"does not fit the quota of 0\.0003\d+ GB, of which 0\.0003\d+ GB are in use"):
        numbered(store, 5)
    assert numbers_in(tmp_path) == {0, 1, 2}
    assert all((array == number).all() for number, array in held.items())
    assert len(caplog.messages) == 1


def test_a_quota_smaller_than_one_artefact_is_reported_and_removes_nothing(tmp_path):
    numbered(Store(tmp_path), 0)
    with pytest.raises(StoreError, match=r"does not fit the quota of 5e-08 GB.*raise store.quota_gb"):
        numbered(Store(tmp_path, quota_bytes=50), 1)
    assert numbers_in(tmp_path) == {0}


def test_leftovers_of_dead_builders_are_evicted_first(tmp_path):
    numbered(Store(tmp_path), 0)
    (tmp_path / "dead.building").write_bytes(bytes(FILE_BYTES))
    numbered(Store(tmp_path, quota_bytes=2 * FILE_BYTES), 1)
    assert numbers_in(tmp_path) == {0, 1}
    assert not (tmp_path / "dead.building").exists()


def use_many(root: Path, seed: int, start) -> None:
    """Uses twelve artefacts in any order, two open at a time. Four such processes exceed the quota."""
    rng = np.random.default_rng(seed)
    store = Store(root, quota_bytes=QUOTA_BYTES)
    held: dict[int, np.ndarray] = {}
    served = 0
    start.wait(60)
    for _ in range(30):
        number = int(rng.integers(12))
        try:
            held[number] = numbered(store, number)
            served += 1
        except StoreError as error:
            assert "quota" in str(error)  # noqa: PT017 - the loop goes on after it
        while len(held) > 2:
            del held[next(iter(held))]
        for other, array in held.items():
            assert path_of(root, other).exists()
            assert (array == other).all()
        assert stored_bytes(root) <= QUOTA_BYTES
    assert served > 5


def test_quota_holds_while_several_processes_use_the_store(tmp_path):
    start = SPAWN.Barrier(4)
    users = [SPAWN.Process(target=use_many, args=(tmp_path, seed, start)) for seed in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(120)
    assert [user.exitcode for user in users] == [0] * 4
    assert not list(tmp_path.glob("*.building"))
