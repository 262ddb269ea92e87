"""Commands on a study whose record is in PostgreSQL."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search.cli.app import app
from search.study.final_lock import clear_retrain
from search.study.folder import StudyFolder
from search.study.record.record_pointer import pointer_of
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.search.postgres_server import PASSWORD, PostgresServer
from tests.helpers.search.processes import run_cli, start_cli, wait_until
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import write_tiny


def rows(server: PostgresServer, folder: StudyFolder, part: str) -> int:
    """Number of lines of the study's record that contain a text."""
    pointer = pointer_of(folder.log)
    assert pointer is not None
    with server.connect() as connection:
        found = connection.execute(
            "SELECT count(*) FROM carsearch_journal WHERE study = %s AND line LIKE %s", [pointer.study, f"%{part}%"]
        ).fetchone()
    assert found is not None
    return int(str(found[0]))


def assert_secret(folder: Path) -> None:
    """Checks that the password is in no file."""
    assert not [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_status_and_report_read_the_database(tmp_path: Path, postgres: PostgresServer) -> None:
    folder, _ = made_up_study(tmp_path, trials=4, per_class=4, overrides=[f"storage={postgres.url()}"])
    assert folder.log.stat().st_size < 250
    assert rows(postgres, folder, '"report:') == sum(record.fidelity for record in read_records(folder))
    status = CliRunner().invoke(app, ["status", str(folder.root)])
    assert status.exit_code == 0, status.output
    assert "4 of 4 trials ended" in status.output
    report = CliRunner().invoke(app, ["report", str(folder.root)])
    assert report.exit_code == 0, report.output
    assert len(folder.report.with_name("leaderboard.csv").read_text(encoding="utf-8").splitlines()) == 5
    assert_secret(tmp_path)

    postgres.kill()
    refused = CliRunner().invoke(app, ["status", str(folder.root)])
    postgres.start()
    assert refused.exit_code != 0
    assert f"{postgres.url()}: cannot be reached: " in str(refused.exception)


@pytest.mark.fault
@pytest.mark.release
@pytest.mark.timeout(1800)
def test_a_whole_search_outlives_its_server_and_its_driver(
    finished: Ran, tmp_path: Path, postgres: PostgresServer
) -> None:
    write_tiny(tmp_path)
    folder, where = StudyFolder(tmp_path / "results" / "tiny"), f"storage={postgres.url()}"
    driver = start_cli("run", "tiny.yaml", "--set", where, cwd=tmp_path)
    try:
        wait_for_epochs(driver, postgres, folder, 2)
        postgres.kill()
        wait_until(lambda: "the search waits for it" in output(tmp_path) or driver.poll() is not None, "a wait")
        postgres.start()
        wait_until(lambda: "is back, the search continues" in output(tmp_path) or driver.poll() is not None, "its end")
        wait_for_epochs(driver, postgres, folder, 4)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    again = run_cli("run", "tiny.yaml", "--set", where, "--or-resume", cwd=tmp_path, within_s=900)
    assert again.returncode == 0, again.stdout + again.stderr
    assert timeless(read_records(folder), uninterrupted=False) == timeless(finished.records, uninterrupted=False)

    said = "".join(
        ran(command, str(folder.root), cwd=tmp_path)
        for command in ("retrain", "ensemble", "submit", "status", "report")
    )
    own = pointer_of(folder.retrain_study.log)
    assert own is not None
    epochs = sum(record.fidelity for record in read_records(folder.retrain_study))
    assert rows(postgres, folder.retrain_study, '"report:') == epochs == 4, "two in each stage, as `retrain` says"
    assert folder.submission.is_file()
    assert PASSWORD not in said + output(tmp_path) + again.stdout + again.stderr
    assert_secret(tmp_path)
    clear_retrain(folder)
    with postgres.connect() as connection:
        left = connection.execute("SELECT name FROM carsearch_studies WHERE id = %s", [own.study]).fetchall()
    assert left == []


def ran(*arguments: str, cwd: Path) -> str:
    done = run_cli(*arguments, cwd=cwd, within_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def output(cwd: Path) -> str:
    return (cwd / "output.txt").read_text(encoding="utf-8")


def wait_for_epochs(driver: "subprocess.Popen[str]", server: PostgresServer, folder: StudyFolder, count: int) -> None:
    def are_there() -> bool:
        assert driver.poll() is None, output(folder.root.parents[1])
        return folder.log.exists() and rows(server, folder, '"report:') >= count

    wait_until(are_there, f"{count} epochs", within_s=900)
