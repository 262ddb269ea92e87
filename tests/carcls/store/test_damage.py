"""Bytes that flip after publication are found by `verify` and the background check, reported, and rebuilt."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

from carcls.errors import DamagedStoreError
from carcls.store import Store, damage
from carcls.store.damage import Verdict, verify

KEY = {"kind": "pixels", "size_px": 224}
SHAPE = (3000, 5000)  # several chunks of the hash
SPAWN = multiprocessing.get_context("spawn")


def seven(blank) -> None:
    blank[:] = 7


def store_with_artefact(root: Path) -> tuple[Store, Path]:
    store = Store(root)
    store.get_or_build(KEY, SHAPE, np.uint8, seven)
    [path] = root.glob("*.npy")
    return store, path


def flip(path: Path, place: int) -> None:
    with path.open("rb+") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def reboot(path: Path) -> None:
    """Simulates a reboot: the note of the last check names another boot."""
    path.with_suffix(".checked").write_text("another boot")


def wait_for_checks() -> None:
    for thread in threading.enumerate():
        if thread.name == "store-check":
            thread.join(60)


@pytest.fixture(autouse=True)
def _nothing_used_before(monkeypatch):
    monkeypatch.setattr(damage, "_opened", {})


def check_as_another_process(root: Path) -> None:
    Store(root).get_or_build(KEY, SHAPE, np.uint8, seven)
    wait_for_checks()


@pytest.mark.parametrize("place", [128, 5_000_000, -5000])
def test_verify_names_flipped_bytes_and_the_next_use_rebuilds(tmp_path, place):
    store, path = store_with_artefact(tmp_path)
    assert verify(tmp_path) == [Verdict(path, "pixels 224 px", is_whole=True)]
    flip(path, place % path.stat().st_size)
    assert verify(tmp_path) == [Verdict(path, "pixels 224 px", is_whole=False)]
    assert verify(tmp_path) == []
    with pytest.raises(DamagedStoreError, match=r"pixels 224 px was damaged on disk"):
        store.get_or_build(KEY, SHAPE, np.uint8, seven)
    assert (store.get_or_build(KEY, SHAPE, np.uint8, seven) == 7).all()
    assert verify(tmp_path) == [Verdict(path, "pixels 224 px", is_whole=True)]


def test_verify_names_truncated_files(tmp_path):
    store, path = store_with_artefact(tmp_path)
    with path.open("rb+") as file:
        file.truncate(1000)
    assert verify(tmp_path) == [Verdict(path, "unknown artefact", is_whole=False)]
    assert (store.get_or_build(KEY, SHAPE, np.uint8, seven) == 7).all()


def test_an_artefact_under_another_ones_name_is_damage(tmp_path):
    _, path = store_with_artefact(tmp_path)
    other = path.with_name(f"{'0' * 32}.npy")
    path.rename(other)
    assert verify(tmp_path) == [Verdict(other, "pixels 224 px", is_whole=False)]


def test_the_first_use_after_a_boot_checks_in_the_background(tmp_path, caplog):
    store, path = store_with_artefact(tmp_path)
    flip(path, 9_000_000)
    store.get_or_build(KEY, SHAPE, np.uint8, seven)
    wait_for_checks()
    assert path.exists()  # built in this boot, so not verified again
    reboot(path)
    damaged = store.get_or_build(KEY, SHAPE, np.uint8, seven)
    wait_for_checks()
    assert (damaged != 7).sum() == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"{path}: pixels 224 px is damaged" in caplog.text
    with pytest.raises(DamagedStoreError, match=rf"{path}: pixels 224 px was damaged on disk.*run this training again"):
        store.get_or_build({"kind": "other"}, (1,), np.uint8, seven)  # for any next request
    assert (store.get_or_build(KEY, SHAPE, np.uint8, seven) == 7).all()


def test_an_intact_artefact_is_checked_once_per_boot(tmp_path):
    store, path = store_with_artefact(tmp_path)
    reboot(path)
    store.get_or_build(KEY, SHAPE, np.uint8, seven)
    wait_for_checks()
    assert path.with_suffix(".checked").read_text() == damage.boot_id()
    flip(path, 9_000_000)
    store.get_or_build(KEY, SHAPE, np.uint8, seven)
    wait_for_checks()
    assert path.exists()


def test_a_reader_is_notified_of_damage_found_by_another_process(tmp_path):
    store, path = store_with_artefact(tmp_path)
    flip(path, 9_000_000)
    reboot(path)
    other = SPAWN.Process(target=check_as_another_process, args=(tmp_path,))
    other.start()
    other.join(60)
    assert other.exitcode == 0
    with pytest.raises(DamagedStoreError, match="pixels 224 px was damaged"):
        store.get_or_build(KEY, SHAPE, np.uint8, seven)
    assert (store.get_or_build(KEY, SHAPE, np.uint8, seven) == 7).all()
