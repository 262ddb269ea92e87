"""A journal on a file system that becomes unavailable: a change waits and is written once, or raises."""

import errno
import logging
import os
from pathlib import Path

import pytest

from search.study.study import Study


class CutOffError(Exception):
    """The user interrupts the wait."""


@pytest.fixture
def study(tmp_path: Path):
    (tmp_path / "cars").mkdir()
    with Study.create(tmp_path / "cars", "cars") as made:
        made.set_value("n", 1)
        yield made


def lines(folder: Path) -> int:
    return len((folder / "study.log").read_bytes().splitlines())


def test_a_change_waits_for_the_folder(study: Study, tmp_path: Path, caplog) -> None:
    folder = tmp_path / "cars"
    before = lines(folder)
    elsewhere = folder.rename(tmp_path / "elsewhere")
    study.retry_files(5, lambda: elsewhere.exists() and elsewhere.rename(folder))
    with caplog.at_level(logging.INFO, "search.study.record.journal_file"):
        study.set_value("n", 2)
    assert [record.getMessage() for record in caplog.records if record.name == "search.study.record.journal_file"] == [
        f"{folder / 'study.log'}: No such file or directory: the search waits for it; after 5 minutes it stops and"
        " can be resumed",
        f"{folder / 'study.log'} is back, the search continues",
    ]
    assert lines(folder) == before + 1
    assert Study.open(folder, read_only=True).get_value("n") == 2


def test_the_wait_can_be_interrupted(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "cars"
    elsewhere = folder.rename(tmp_path / "elsewhere")

    def enough() -> None:
        raise CutOffError

    study.retry_files(5, enough)
    with pytest.raises(CutOffError):
        study.set_value("n", 2)
    elsewhere.rename(folder)
    assert Study.open(folder, read_only=True).get_value("n") == 1


def test_the_wait_times_out_with_the_error(study: Study, tmp_path: Path) -> None:
    (tmp_path / "cars").rename(tmp_path / "elsewhere")
    study.retry_files(0.01, lambda: None)
    with pytest.raises(FileNotFoundError):
        study.set_value("n", 2)
    assert not (tmp_path / "cars").exists(), "no new journal is created"


@pytest.mark.parametrize("truncating_fails", [False, True])
def test_a_line_is_not_written_twice_after_a_failed_sync(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncating_fails: bool
) -> None:
    folder = tmp_path / "cars"
    before = lines(folder)
    faults = [OSError(errno.EIO, os.strerror(errno.EIO))]
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if faults:
            if truncating_fails:  # what cannot be written to now cannot be cut either
                os.dup2(closed, descriptor)
            raise faults.pop()
        fsync(descriptor)

    closed = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(os, "fsync", refusing)
    study.retry_files(5, lambda: None)
    study.set_value("n", 2)
    os.close(closed)
    assert lines(folder) == before + 1
    assert Study.open(folder, read_only=True).get_value("n") == 2
