"""A PostgreSQL server of the tests' own, on the loopback, which may be killed and started again."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.helpers.search.processes import descendants, is_alive, kill, wait_until

USER = "searcher"
PASSWORD = "pass-Zq8vXw2mLk"  # noqa: S105 - of this server, which lives as long as the tests
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # processes are killed here, not the machine
    "shared_buffers": "16MB",
    "max_connections": "30",
    "max_wal_size": "64MB",
    "autovacuum": "off",
}


class PostgresServer:
    """One server with its data folder. It asks for a password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="carsearch-postgres-"))
        self._user = _user()
        shutil.chown(self._folder, self._user)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        secret = self._folder / "secret"
        secret.write_text(PASSWORD, encoding="utf-8")
        shutil.chown(secret, self._user)
        self._run("initdb", "-D", self._data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def url(self, database: str = "postgres") -> str:
        """The address of a database, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """Makes an empty database and returns its address."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 STRATEGY file_copy'.encode())
        return self.url(name)

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the tests' own."""
        return psycopg.connect(self.url(database), password=PASSWORD, autocommit=True)

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        options = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                **_as(self._user),
            )
        wait_until(self._answers, "PostgreSQL answers")

    def kill(self) -> None:
        """Kills all of the server's processes at once, as a crash of its machine would."""
        if self._process is not None:
            pids = [self._process.pid, *descendants(self._process.pid)]
            kill(pids)
            self._process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in pids), "the server's processes are gone")
            self._process = None

    def suspend(self) -> None:
        """Stops the server's processes, which then do not answer, until `resume` or `kill`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets the server's processes run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        for pid in (self._process.pid, *descendants(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):  # one of a connection that has just ended
                os.kill(pid, number)

    def remove(self) -> None:
        """Ends the server, and deletes its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError((self._folder / "server.log").read_text(encoding="utf-8")[-2000:])
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **_as(self._user),
        )
        assert done.returncode == 0, done.stdout + done.stderr


def server_programs() -> Path | None:
    """The folder of the server's programs, or None: Debian does not have it in PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    elsewhere = shutil.which("postgres")
    return found[-1].parent if found else Path(elsewhere).parent if elsewhere else None


def wait_for_sessions(server: PostgresServer, count: int) -> None:
    """Waits until so many connections of carsearch are open."""

    def are_there() -> bool:
        with server.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'carsearch%'"
            ).fetchone()
        return row == (count,)

    wait_until(are_there, f"{count} sessions", within_s=30)


def _user() -> str:
    """The server refuses to run as root."""
    if os.getuid():
        return pwd.getpwuid(os.getuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as(user: str) -> dict[str, object]:
    if os.getuid():
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
