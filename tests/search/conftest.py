"""One finished tiny search for all tests that only look at one, and a desk for tests of the dispatcher."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.driver.nodes.node_roster import NodeRoster
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.experiment.experiment import load
from search.policy.policy import search_policy
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.dispatch_desk import CPU, Clock, Desk, Listening
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import EXPERIMENT, write_tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The tiny search, run once by the command, undisturbed."""
    cwd = tmp_path_factory.mktemp("finished")
    file = write_tiny(cwd)
    done = run_cli("run", file.name, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(cwd, file, StudyFolder(cwd / "results" / "tiny"), done.stdout + done.stderr)


@pytest.fixture(scope="session")
def retrained(finished: Ran) -> Ran:
    """The same study after `carsearch retrain`."""
    done = run_cli("retrain", str(finished.folder.root), cwd=finished.cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return replace(finished, output=done.stdout)


@pytest.fixture(scope="session")
def _postgres_server():
    from tests.helpers.search.postgres_server import PostgresServer, server_programs

    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: its program `postgres` is neither in PATH nor in /usr/lib/postgresql")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def postgres(_postgres_server, monkeypatch: pytest.MonkeyPatch):
    """A running PostgreSQL server, whose password is in the environment."""
    from tests.helpers.search.postgres_server import PASSWORD

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return _postgres_server


@pytest.fixture(scope="session")
def _s3_server(tmp_path_factory: pytest.TempPathFactory):
    from tests.helpers.network.s3_server import S3Server

    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture
def s3(_s3_server, monkeypatch: pytest.MonkeyPatch):
    """A running S3 server, whose credentials are in the environment."""
    for key, value in _s3_server.environment().items():
        monkeypatch.setenv(key, value)
    return _s3_server


@pytest.fixture(params=["file", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Where a study's record is: None for a file, else the address of a database."""
    return None if request.param == "file" else request.getfixturevalue("postgres").url()


@pytest.fixture
def open_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    folder = StudyFolder(tmp_path / "study")
    opened: list[Study] = []

    def desk(
        *overrides: str, worker: WorkerSettings = CPU, roster: NodeRoster | None = None, database: str | None = None
    ) -> Desk:
        experiment = load(Path("tiny.yaml"), overrides)
        for study in opened:
            study.close()
        if folder.log.exists():
            opened.append(Study.open(folder.root))
        else:
            folder.trials.mkdir(parents=True)
            opened.append(Study.create(folder.root, "tiny", database=database))
        listening, clock, study = Listening(), Clock(), opened[-1]
        dispatcher = StudyDispatcher(
            experiment,
            study,
            folder,
            policy=search_policy(experiment),
            worker=worker,
            listeners=(listening,),
            clock_s=clock,
            roster=roster,
        )
        return Desk(experiment, study, folder, listening, clock, dispatcher)

    yield desk
    for study in opened:
        study.close()
