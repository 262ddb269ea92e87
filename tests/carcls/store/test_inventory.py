"""Listing and cleaning a store."""

import logging
import os

import numpy as np

from carcls.store import Progress, Store
from carcls.store.inventory import clean, survey


def ones(blank) -> None:
    blank[:] = 1


def stored(store: Store, kind: str) -> np.ndarray:
    return store.get_or_build({"kind": kind, "size_px": 32}, (10, 100), np.uint8, ones)


def kinds(store: Store) -> list[str]:
    return [entry.read_trailer().artefact.key["kind"] for entry in survey(store.root)]


def test_survey_reports_size_last_use_and_locks(tmp_path):
    store = Store(tmp_path)
    held = stored(store, "held")
    stored(store, "free")
    for entry in survey(tmp_path):
        os.utime(entry.path, (0, 1000 if entry.is_held else 2000))
    entries = survey(tmp_path)
    assert [(entry.is_held, entry.last_use_unix_s, entry.is_finished) for entry in entries] == [
        (True, 1000, True),
        (False, 2000, True),
    ]
    assert sum(entry.size_bytes for entry in entries) == sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    trailer = entries[0].read_trailer()
    assert (trailer.artefact.shape, trailer.artefact.dtype, trailer.artefact.name) == ((10, 100), "u1", "held 32 px")
    assert held.shape == (10, 100)


def test_use_updates_the_files_time(tmp_path):
    store = Store(tmp_path)
    stored(store, "a")
    [path] = tmp_path.glob("*.npy")
    os.utime(path, (0, 0))
    stored(store, "a")
    assert path.stat().st_mtime > 1e9


def test_clean_removes_unused_artefacts_and_returns_the_bytes_freed(tmp_path):
    store = Store(tmp_path)
    held = stored(store, "held")
    stored(store, "free")
    (tmp_path / "dead.building").write_bytes(b"12345")
    size = max(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert clean(tmp_path) == size + 5
    assert kinds(store) == ["held"]
    assert not list(tmp_path.glob("*.building"))
    assert len(list(tmp_path.glob("*.checked"))) == 1
    del held
    assert clean(tmp_path) == size
    assert survey(tmp_path) == []
    assert not list(tmp_path.glob("*.checked"))


def test_clean_by_kind_and_by_age(tmp_path):
    store = Store(tmp_path)
    for kind in ("pixels", "features", "views"):
        stored(store, kind)
    for entry in survey(tmp_path):
        if entry.read_trailer().artefact.key["kind"] == "features":
            os.utime(entry.path, (0, 5000))
    assert clean(tmp_path, kind="pixels") > 0
    assert sorted(kinds(store)) == ["features", "views"]
    assert clean(tmp_path, unused_since_unix_s=4999) == 0
    assert clean(tmp_path, unused_since_unix_s=5000) > 0
    assert kinds(store) == ["views"]


def test_an_absent_store_is_empty(tmp_path):
    assert survey(tmp_path / "none") == []
    assert clean(tmp_path / "none") == 0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_logged_regularly_but_not_for_short_work(caplog):
    clock = Clock()
    with caplog.at_level(logging.INFO, "carcls.store"):
        short = Progress("pixels 32 px", 100, clock=clock)
        short.add(100)
        long = Progress("pixels 224 px", 15_561, clock=clock)
        for _ in range(15_561 // 1000):
            clock.now += 2.0
            long.add(1000)
        clock.now += 2.0
        long.add(561)
    assert caplog.messages == [
        "building pixels 224 px: 3,000/15,561",
        "building pixels 224 px: 6,000/15,561",
        "building pixels 224 px: 9,000/15,561",
        "building pixels 224 px: 12,000/15,561",
        "building pixels 224 px: 15,000/15,561",
        "built pixels 224 px: 15,561 in 32 s",
    ]
