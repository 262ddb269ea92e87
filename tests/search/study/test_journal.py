"""Guarantees of the journal: atomic appends, repair, and one writer, named in the lock."""

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.errors import StudyError
from search.study.record.journal import LOCK_NAME, WriterLock, create_journal, cut_torn_line, is_held, open_journal
from search.study.record.storage import StudyStorage
from search.study.study import Study

HERE = socket.gethostname()


@pytest.fixture
def storage(tmp_path: Path):
    made = StudyStorage.create(tmp_path, "cars")
    yield made
    made.close()


def holder_text(folder: Path) -> str:
    return (folder / LOCK_NAME).read_text(encoding="utf-8")


def test_a_failed_append_leaves_nothing(tmp_path: Path, storage: StudyStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "study.log"
    before = log.read_bytes()
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.set_value("lost", 1)
    assert log.read_bytes() == before
    monkeypatch.setattr(os, "fsync", real)
    assert storage.get_value("lost") is None
    storage.set_value("kept", 2)
    storage.close()
    assert StudyStorage.open(tmp_path, read_only=True).get_value("kept") == 2


def test_acknowledged_appends_are_on_disk(
    storage: StudyStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test cannot cut the power, but it can check that each append ends with an fsync of all its bytes."""
    synced: list[int] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path / "study.log":
            synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    for value in range(3):
        storage.set_value("n", value)
        assert synced[-1] == (tmp_path / "study.log").stat().st_size
    assert len(synced) == 3


TORN = [
    b"{",
    b'{"op_code":2,"wor',
    b'{"op_code":2,"worker_id":"w"}',
    b"\0\0\0\0",
    b'\0\0\0,"user_attr":{"a":1}}\n',
    b'\0"}\n',
    b"\xff\xfe{}\n",
    b"[1]\n",
    b"{}\n",
    b"7\n",
]
"""Remains of an append after a kill or a power cut. The newline is not certain to be written last."""


@pytest.mark.parametrize("torn", TORN)
def test_only_an_unfinished_append_is_cut(tmp_path: Path, storage: StudyStorage, torn: bytes) -> None:
    storage.set_value("kept", 1)
    storage.close()
    log = tmp_path / "study.log"
    before = log.read_bytes()
    log.write_bytes(before + torn)
    assert cut_torn_line(log) == len(torn)
    assert log.read_bytes() == before
    assert cut_torn_line(log) == 0


@pytest.mark.parametrize("torn", TORN)
def test_a_reader_ignores_an_unfinished_append(tmp_path: Path, storage: StudyStorage, torn: bytes) -> None:
    storage.set_value("kept", 1)
    storage.close()
    log = tmp_path / "study.log"
    before = log.read_bytes()
    log.write_bytes(before + torn)
    reader = StudyStorage.open(tmp_path, read_only=True)
    assert reader.get_value("kept") == 1
    assert log.read_bytes() == before + torn

    writer = StudyStorage.open(tmp_path, read_only=False)
    writer.set_value("kept", 2)
    writer.close()
    reader.load()  # what Optuna reads on at
    assert reader.get_value("kept") == 2, "it continues where it stopped, after the cut line"
    assert log.read_bytes().startswith(before)


def test_an_empty_journal_is_not_changed(tmp_path: Path) -> None:
    create_journal(tmp_path / "study.log")
    assert cut_torn_line(tmp_path / "study.log") == 0


@pytest.mark.parametrize("damage", [b"no json\n", b'{"op_code":4}\n', b"\xff\xfe\n", b"[]\n"])
def test_damage_before_the_last_line_is_an_error(tmp_path: Path, storage: StudyStorage, damage: bytes) -> None:
    storage.set_value("a", 1)
    storage.close()
    log = tmp_path / "study.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], damage, *lines[1:]]))
    content = log.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StudyError, match=r"study\.log.*: damaged .*put back a copy"):
            StudyStorage.open(tmp_path, read_only=read_only)
    assert log.read_bytes() == content
    assert not is_held(tmp_path), "a failed open releases the lock"


def test_a_damaged_line_is_reported_with_its_number(tmp_path: Path, storage: StudyStorage) -> None:
    storage.close()
    log = tmp_path / "study.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b"{torn\n", *lines[2:]]))
    with pytest.raises(StudyError, match=r"study\.log, line 3: damaged"):
        open_journal(log)


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    lock = WriterLock.acquire(tmp_path)
    assert holder_text(tmp_path) == f"process {os.getpid()} on {HERE}\n"
    assert is_held(tmp_path)
    with pytest.raises(StudyError, match=rf"is in use by process {os.getpid()} on {HERE}: go away"):
        WriterLock.acquire(tmp_path, advice="go away")
    lock.release()
    lock.release()
    assert not is_held(tmp_path)
    assert holder_text(tmp_path) == ""


HOLDER = """
import sys, time
from pathlib import Path
from search.study.record.journal import WriterLock
lock = WriterLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_name_of_a_killed_holder_blocks_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert holder_text(tmp_path) == f"process {process.pid} on {HERE}\n", "it had no time to clear its name"
    assert not is_held(tmp_path)
    WriterLock.acquire(tmp_path).release()


def test_a_stale_name_is_never_reported_as_the_holder(tmp_path: Path) -> None:
    """Between taking the lock and writing its name, the file names the driver's dead predecessor."""
    (tmp_path / LOCK_NAME).write_text("", encoding="utf-8")
    with (tmp_path / LOCK_NAME).open("a+") as slow:
        fcntl.flock(slow, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="is in use by another process"):
            WriterLock.acquire(tmp_path)


def test_checking_the_lock_blocks_no_driver(tmp_path: Path) -> None:
    import threading

    WriterLock.acquire(tmp_path).release()
    with (tmp_path / LOCK_NAME).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        WriterLock.acquire(tmp_path).release()


def test_an_unclean_exit_on_another_host_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / LOCK_NAME).write_text("process 7 on elsewhere\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "search.study.record.journal"):
        WriterLock.acquire(tmp_path).release()
        WriterLock.acquire(tmp_path).release()
    assert [record.getMessage().partition(" did not")[0] for record in caplog.records] == [
        f"{tmp_path}: its last driver, process 7 on elsewhere,"
    ]


def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StudyError, match=r"its file system has no locks \(No locks available\)"):
        WriterLock.acquire(tmp_path)
    assert is_held(tmp_path), "unknown: trials recorded as running are shown as running"


def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="absent cannot be written to: No such file"):
        WriterLock.acquire(tmp_path / "absent")


def two_epochs(folder: Path) -> Path:
    """The path of a closed journal of a few lines."""
    with Study.create(folder, "cars") as study:
        for value in (1, 2, 3):
            study.set_value("n", value)
    return folder / "study.log"


def test_each_line_has_a_checksum_that_optuna_ignores(tmp_path: Path) -> None:
    log = two_epochs(tmp_path)
    entries = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert all(list(entry)[-1] == "check" and len(entry["check"]) == 16 for entry in entries)
    storage = JournalStorage(JournalFileBackend(str(log)))
    assert storage.get_study_user_attrs(0)["value:n"] == 3


@pytest.mark.parametrize("removed", [0, 2])
def test_a_removed_line_is_detected(tmp_path: Path, removed: int) -> None:
    log = two_epochs(tmp_path)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
    with pytest.raises(StudyError, match=rf"study\.log, line {removed + 1}: damaged"):
        Study.open(tmp_path)


def test_reordered_lines_are_detected(tmp_path: Path) -> None:
    log = two_epochs(tmp_path)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]))
    with pytest.raises(StudyError, match=r"study\.log, line 4: damaged"):
        Study.open(tmp_path)


def test_lines_of_optuna_are_covered_by_the_next_checksum(tmp_path: Path) -> None:
    log = two_epochs(tmp_path)
    with Study.open(tmp_path) as study:
        study.set_value("n", 4)
        # As optuna-dashboard does with a note, while a driver has the study open.
        optuna.load_study(study_name="cars", storage=JournalStorage(JournalFileBackend(str(log)))).set_user_attr(
            "by", 7
        )
        study.set_value("n", 5)
    assert Study.open(tmp_path, read_only=True).get_value("n") == 5
    whole = log.read_bytes()
    foreign = whole.splitlines().index(next(line for line in whole.splitlines() if b'"check"' not in line)) + 1
    log.write_bytes(whole.replace(b'{"by":7}', b'{"by":6}'))
    with pytest.raises(StudyError, match=rf"study\.log, one of lines {foreign} to {foreign + 1}: damaged"):
        Study.open(tmp_path)


def without_checksums(log: Path) -> bytes:
    """The same journal as an older version wrote it, without checksums."""
    entries = [json.loads(line) for line in log.read_bytes().splitlines()]
    bare = [{key: value for key, value in entry.items() if key != "check"} for entry in entries]
    return b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in bare)


def test_a_journal_without_checksums_gets_them_from_its_next_line(tmp_path: Path) -> None:
    log = two_epochs(tmp_path)
    log.write_bytes(without_checksums(log))
    old = log.read_bytes()
    assert Study.open(tmp_path, read_only=True).get_value("n") == 3
    with Study.open(tmp_path) as study:
        study.set_value("n", 4)
    assert Study.open(tmp_path, read_only=True).get_value("n") == 4
    assert log.read_bytes().startswith(old)
    log.write_bytes(log.read_bytes().replace(b'"value:n":2', b'"value:n":6'))
    with pytest.raises(StudyError, match=rf"study\.log, one of lines 1 to {len(old.splitlines()) + 1}: damaged"):
        Study.open(tmp_path)


def test_a_damaged_last_line_is_cut_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = two_epochs(tmp_path)
    whole = log.read_bytes()
    last = len(whole.splitlines())
    log.write_bytes(whole.replace(b'"value:n":3', b'"value:n":2'))
    with caplog.at_level(logging.WARNING):
        assert Study.open(tmp_path, read_only=True).get_value("n") == 2
        Study.open(tmp_path).close()
    own = [one for one in caplog.records if one.name.startswith("search.study.record.journal")]
    assert [one.getMessage() for one in own] == [
        f"{log}, line {last}: the last line is damaged and ignored: the next 'carsearch resume' cuts it off",
        f"{log}, line {last}: the last line was damaged, as by a power cut or a failing disk, and is cut off: what it"
        " recorded will be done again",
    ]
    caplog.clear()
    log.write_bytes(whole[:-20])
    assert Study.open(tmp_path, read_only=True).get_value("n") == 2
    Study.open(tmp_path).close()
    assert not [record for record in caplog.records if record.name.startswith("search.study.record.journal")]
    assert log.read_bytes() == whole[: whole.rstrip().rindex(b"\n") + 1]
