"""A study's record in PostgreSQL: one driver, each change once, whatever happens to server, connection and lock."""

import logging
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from search.errors import StudyError
from search.study import driver_session
from search.study.deletion import delete_study
from search.study.driver_life import has_driver
from search.study.folder import StudyFolder
from search.study.record.database import MIGRATIONS, migrate
from search.study.record.database_journal import read_lines
from search.study.record.record_pointer import RecordPointer, pointer_of
from search.study.study import Study
from tests.helpers.network.cutting_proxy import CuttingProxy
from tests.helpers.search.postgres_server import PASSWORD, USER, PostgresServer
from tests.helpers.search.trial_builders import epoch_report
from tests.helpers.search.written_study import started


class CutOffError(Exception):
    """The user interrupts the wait."""


@pytest.fixture
def study(postgres: PostgresServer, folder: Path) -> Iterator[Study]:
    with Study.create(folder, "cars", database=postgres.url()) as made:
        made.set_value("n", 1)
        yield made


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[CuttingProxy]:
    between = CuttingProxy(postgres.port)
    yield between
    between.close()


def pointer_in(folder: Path) -> RecordPointer:
    found = pointer_of(folder / "study.log")
    assert found is not None
    return found


def count(folder: Path) -> int:
    """Number of the record's rows."""
    return len(read_lines(pointer_in(folder)))


def elsewhere(folder: Path) -> Path:
    """The folder as another machine sees it that does not share its locks."""
    return Path(shutil.copytree(folder, folder.with_name("elsewhere")))


def end_sessions(postgres: PostgresServer) -> None:
    """Ends the connections that hold a lock."""
    with postgres.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")


def test_the_folder_only_points_to_the_record(study: Study, folder: Path, postgres: PostgresServer) -> None:
    pointer = pointer_in(folder)
    assert pointer.storage == f"postgresql://{USER}@127.0.0.1:{postgres.port}/postgres"
    assert (folder / "study.log").read_bytes().count(b"\n") == 1
    with postgres.connect() as connection:
        rows = connection.execute("SELECT name FROM carsearch_studies WHERE id = %s", [pointer.study]).fetchall()
    assert rows == [("cars",)]


def test_the_exported_lines_are_the_journal_file(study: Study, folder: Path, tmp_path: Path) -> None:
    study.report(started(study), epoch_report(1))
    pointer = pointer_in(folder)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "study.log").write_bytes(b"".join(read_lines(pointer)))
    copy = Study.open(tmp_path / "copy")
    assert (copy.records(), copy.get_value("n"), copy.facts) == (study.records(), 1, study.facts)
    copy.close()


def test_a_killed_server_is_waited_for(study: Study, folder: Path, postgres: PostgresServer, caplog) -> None:
    before = count(folder)
    postgres.kill()
    back = threading.Timer(0.5, postgres.start)
    back.start()
    study.retry_files(5, lambda: None)
    with caplog.at_level(logging.INFO, "search.study.record.journal_file"):
        study.set_value("n", 2)
    back.join()
    told = [record.getMessage() for record in caplog.records if record.name == "search.study.record.journal_file"]
    first, last = told
    assert first.startswith(f"{postgres.url()}: ")
    assert first.endswith("the search waits for it; after 5 minutes it stops and can be resumed")
    assert last == f"{postgres.url()} is back, the search continues"
    assert count(folder) == before + 1
    assert Study.open(folder, read_only=True).get_value("n") == 2


def test_without_a_wait_the_error_names_the_server(study: Study, folder: Path, postgres: PostgresServer) -> None:
    postgres.kill()
    try:
        with pytest.raises(OSError, match=r"refused|terminat|closed") as raised:
            study.set_value("n", 2)
        assert raised.value.filename == postgres.url()
        with pytest.raises(StudyError, match=rf"{postgres.url()}: cannot be reached: .*refused"):
            Study.open(folder, read_only=True)
    finally:
        postgres.start()
    study.set_value("n", 3)
    assert Study.open(folder, read_only=True).get_value("n") == 3


def test_a_server_that_hangs_counts_as_lost(
    study: Study, folder: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = count(folder)
    with monkeypatch.context() as patch:
        patch.setattr(driver_session, "ANSWER_TIMEOUT_S", 0.2)
        postgres.suspend()
        try:
            with pytest.raises(OSError, match=postgres.url()) as raised:
                study.set_value("n", 2)
        finally:
            postgres.resume()
    assert raised.value.filename == postgres.url()
    study.retry_files(5, lambda: None)
    study.set_value("n", 2)
    assert count(folder) == before + 1, "the change that hung was committed when the server went on, or never"
    assert Study.open(folder, read_only=True).get_value("n") == 2


def test_a_driver_ends_although_the_server_hangs(
    postgres: PostgresServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_session, "RELEASE_TIMEOUT_S", 0.2)
    study = Study.create(folder, "cars", database=postgres.url())
    postgres.suspend()
    try:
        study.close()
    finally:
        postgres.resume()
    with Study.open(folder) as again:
        assert again.get_value("n") is None, "the lock is free"


def test_a_change_whose_answer_was_lost_is_recorded_once(
    postgres: PostgresServer, proxy: CuttingProxy, folder: Path
) -> None:
    url = postgres.url().replace(str(postgres.port), str(proxy.port))
    with Study.create(folder, "cars", database=url) as study:
        study.retry_files(5, lambda: None)
        number, before = started(study), count(folder)
        proxy.lose_next_answer()
        assert study.report(number, epoch_report(1))
        assert proxy.answers_lost == 1
        assert count(folder) == before + 2, "the value for Optuna, and our report"
        assert [report.epoch for report in study.record(number).reports] == [1]
    assert Study.open(folder, read_only=True).records() == study.records()


def test_an_interrupted_change_leaves_nothing(postgres: PostgresServer, proxy: CuttingProxy, folder: Path) -> None:
    url = postgres.url().replace(str(postgres.port), str(proxy.port))

    def enough() -> None:
        raise CutOffError

    with Study.create(folder, "cars", database=url) as study:
        study.set_value("n", 1)
        before = count(folder)
        study.retry_files(5, enough)
        proxy.lose_next_answer()
        with pytest.raises(CutOffError):
            study.set_value("n", 2)
        study.retry_files(5, lambda: None)
        study.set_value("n", 3)
        assert count(folder) == before + 1
        assert b'"value:n":2' not in b"".join(read_lines(pointer_in(folder)))
    assert Study.open(folder, read_only=True).get_value("n") == 3


def test_a_second_driver_is_refused_by_name(study: Study, folder: Path) -> None:
    with pytest.raises(StudyError, match=rf"in use by process {os.getpid()} on {socket.gethostname()}: wait for it"):
        Study.open(elsewhere(folder))
    assert has_driver(StudyFolder(folder.with_name("elsewhere")))
    study.close()
    assert not has_driver(StudyFolder(folder.with_name("elsewhere")))
    Study.open(folder.with_name("elsewhere")).close()


def test_a_driver_whose_lock_was_taken_stops(study: Study, folder: Path, postgres: PostgresServer) -> None:
    study.retry_files(5, lambda: None)
    end_sessions(postgres)
    with Study.open(elsewhere(folder)) as other:
        with pytest.raises(StudyError, match=rf"process {os.getpid()} on .* has taken the study over"):
            study.set_value("n", 2)
        other.set_value("n", 3)
    with pytest.raises(StudyError, match="another driver has changed it meanwhile, so this one stops"):
        study.set_value("n", 2)
    assert Study.open(folder, read_only=True).get_value("n") == 3


def test_a_driver_takes_its_lock_back_if_no_other_did(study: Study, folder: Path, postgres: PostgresServer) -> None:
    study.retry_files(5, lambda: None)
    end_sessions(postgres)
    study.set_value("n", 2)
    with pytest.raises(StudyError, match="in use by process"):
        Study.open(elsewhere(folder))
    assert Study.open(folder, read_only=True).get_value("n") == 2


def test_a_driver_on_a_lost_machine_is_waited_for(
    study: Study, folder: Path, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with postgres.connect() as connection:  # as if it ran on another machine
        connection.execute("UPDATE carsearch_studies SET driver = 'process 7 on far' WHERE driver IS NOT NULL")
    gone = threading.Timer(1.0, end_sessions, [postgres])  # the server notices
    gone.start()
    Study.open(elsewhere(folder)).close()
    gone.join()
    assert "in use by process 7 on far: waits 45 s, in case it is gone" in caplog.text


def test_a_damaged_row_is_named(study: Study, folder: Path, postgres: PostgresServer) -> None:
    with postgres.connect() as connection:
        connection.execute(
            "UPDATE carsearch_journal SET line = replace(line, '\"value:n\":1', '\"value:n\":7')"
            " WHERE line LIKE '%value:n%'"
        )
    study.close()
    for read_only in (True, False):
        with pytest.raises(StudyError, match=r"row \d+ of carsearch_journal: damaged \(not as it was written\)"):
            Study.open(folder, read_only=read_only)


def test_tables_are_made_once_and_brought_up_to_date(postgres: PostgresServer) -> None:
    url = postgres.new_database("schemas")
    added = (*MIGRATIONS, "ALTER TABLE carsearch_studies ADD COLUMN place text DEFAULT 'here'")
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(connection)
        migrate(connection)
        connection.execute("INSERT INTO carsearch_studies (id, name) VALUES (gen_random_uuid(), 'cars')")
        migrate(connection, added)
        assert connection.execute("SELECT name, place FROM carsearch_studies").fetchall() == [("cars", "here")]
        assert connection.execute("SELECT version FROM carsearch_schema").fetchall() == [(2,)]
        with pytest.raises(StudyError, match="tables in version 2, but this carsearch knows 1: update carsearch"):
            migrate(connection)


def test_a_database_of_a_later_version_or_without_tables_is_refused(postgres: PostgresServer, folder: Path) -> None:
    url = postgres.new_database("later")
    Study.create(folder, "cars", database=url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE carsearch_schema SET version = 9")
        for read_only in (True, False):
            with pytest.raises(StudyError, match="tables in version 9, but this carsearch knows 1: update carsearch"):
                Study.open(folder, read_only=read_only)
        connection.execute("DROP TABLE carsearch_schema, carsearch_journal, carsearch_studies")
    with pytest.raises(StudyError, match="carsearch's tables in version 0, expected 1"):
        Study.open(folder, read_only=True)
    with pytest.raises(StudyError, match=r"has no study .*: is it the right database"):
        Study.open(folder)


def test_a_deleted_study_leaves_no_rows(study: Study, folder: Path, postgres: PostgresServer) -> None:
    (folder / "retrain").mkdir()
    Study.create(folder / "retrain", "cars-retrain", database=postgres.url()).close()
    studies = [pointer_in(folder).study, pointer_in(folder / "retrain").study]
    study.close()
    delete_study(folder)
    assert not folder.exists()
    with postgres.connect() as connection:
        left = connection.execute("SELECT id FROM carsearch_studies WHERE id = ANY(%s)", [studies]).fetchall()
        left += connection.execute("SELECT study FROM carsearch_journal WHERE study = ANY(%s)", [studies]).fetchall()
    assert left == []


def test_a_study_is_deleted_although_its_database_is_gone(study: Study, folder: Path, postgres, caplog) -> None:
    study.close()
    log = folder / "study.log"
    log.write_text(log.read_text(encoding="utf-8").replace(str(postgres.port), "1"), encoding="utf-8")
    delete_study(folder)
    assert not folder.exists()
    assert "its record stays in the database" in caplog.text


def test_an_edited_address_is_followed(study: Study, folder: Path, proxy: CuttingProxy, postgres) -> None:
    study.close()
    log = folder / "study.log"
    log.write_text(log.read_text(encoding="utf-8").replace(str(postgres.port), str(proxy.port)), encoding="utf-8")
    with Study.open(folder) as moved:
        moved.set_value("n", 5)
    log.write_text(log.read_text(encoding="utf-8").replace(f"{USER}@", f"{USER}:{PASSWORD}@"), encoding="utf-8")
    with pytest.raises(StudyError, match="holds a password") as raised:
        Study.open(folder, read_only=True)
    assert PASSWORD not in str(raised.value)


def test_a_wrong_password_is_not_repeated(study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.close()
    monkeypatch.setenv("PGPASSWORD", "wrong-Hk3pTq")
    with pytest.raises(StudyError, match=f'password authentication failed for user "{USER}"') as raised:
        Study.open(folder)
    error: BaseException | None = raised.value
    while error is not None:
        assert "wrong-Hk3pTq" not in str(error)
        error = error.__cause__


def test_no_password_reaches_files_or_tables(study: Study, folder: Path, postgres: PostgresServer) -> None:
    study.report(started(study), epoch_report(1))
    study.close()
    assert not [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    with postgres.connect() as connection:
        kept = connection.execute(
            "SELECT name, driver, line FROM carsearch_studies JOIN carsearch_journal ON id = study"
        )
        rows = str(kept.fetchall())
    assert '"val_accuracy":0.5' in rows
    assert PASSWORD not in rows


def test_without_the_extra_the_error_names_it(study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.close()
    for name in list(sys.modules):
        if name.startswith(("psycopg", "search.study.record.database", "search.study.driver_session")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("search.study.record.database_record")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"is missing .*: install carsearch\[postgres\]"):
        Study.open(folder, read_only=True)
