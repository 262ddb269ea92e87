"""The ports of a search, seen from another machine and from this one; and clusters that require a token."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.study.folder import StudyFolder
from tests.helpers.network.networks import INSIDE_IP, Networks, can_join_namespaces
from tests.helpers.network.stranger import FRIEND
from tests.helpers.search.processes import command, descendants, is_alive, kill, wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import write_tiny

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not can_join_namespaces(), reason="needs root, iproute2 and leave to make network namespaces"),
]

ROOT = Path(__file__).parents[3]
RIGHT, WRONG = "a" * 64, "b" * 64
AT_ONCE_S = 10.0
"""In addition to three times the import time of Ray. Ray itself retries for 20 to 40 s."""

GUARDED = {"UNAUTHENTICATED", "HTTP 401", "HTTP 403"}
NOTHING = GUARDED | {"UNIMPLEMENTED", "UNAVAILABLE"}
"""Allowed answers to a stranger: unauthenticated, unknown method, or another protocol."""


@pytest.fixture
def networks() -> Iterator[Networks]:
    with Networks() as made:
        yield made


class Inside:
    """A command in the inner network, ended with its descendants."""

    def __init__(self, where: list[str], arguments: list[str], *, cwd: Path, **environment: str) -> None:
        self.log = cwd / "inside.txt"
        self.process = subprocess.Popen(
            [*where, *arguments],
            cwd=cwd,
            env=without_token() | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until(self, condition, what: str) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            return condition()

        wait_until(holds, what)

    def below(self) -> dict[int, str]:
        return descendants(self.process.pid)

    def end(self) -> None:
        below = self.below() if is_alive(self.process.pid) else {}
        kill({self.process.pid, *below})
        self.process.wait()


def without_token() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def told(where: list[str], host: str, token: str | None, ports: list[int]) -> dict[int, set[str]]:
    """The answers of each port to a stranger in that network."""
    asking = [sys.executable, "-m", "tests.helpers.network.stranger", host, token or "-", *map(str, ports)]
    done = subprocess.run([*where, *asking], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return {int(port): set(answers) for port, answers in json.loads(done.stdout).items()}


def told_nothing(answers: set[str]) -> bool:
    return bool(answers & GUARDED) and all(answer in NOTHING or answer.startswith("no HTTP") for answer in answers)


def environment_of(pid: int) -> dict[str, str]:
    rows = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(row.split("=", 1) for row in rows if "=" in row)


def is_private(path: Path) -> bool:
    """True in a folder that only its owner may enter."""
    return any(stat.S_IMODE(parent.stat().st_mode) & 0o077 == 0 for parent in path.parents)


def test_of_a_search_on_this_machine_nothing_is_reached(networks: Networks, tmp_path: Path) -> None:
    write_tiny(tmp_path)
    search = Inside(networks.inside, [sys.executable, "-m", "search.cli", "run", "tiny.yaml"], cwd=tmp_path)
    folder = StudyFolder(tmp_path / "results" / "tiny")
    try:
        search.wait_until(lambda: folder.log.exists() and '{"report:' in folder.log.read_text(), "a first epoch")
        below = search.below()
        listening = networks.listeners()
        raylet = next(pid for pid, name in below.items() if "raylet/raylet" in name.split(" ", 1)[0])
        token = environment_of(raylet)["RAY_AUTH_TOKEN"]
        ports = [one.port for one in listening if one.protocol == "tcp"]
        unix = networks.unix_listeners()

        from_outside = told(networks.outside, INSIDE_IP, token, ports)
        strangers = [told(networks.inside, "127.0.0.1", shown, ports) for shown in (None, WRONG)]
        friend = told(networks.inside, "127.0.0.1", FRIEND + token, ports)

        print("\n".join(f"{one.protocol} {one.address}:{one.port}" for one in listening))  # noqa: T201 - for a reader
        assert len(ports) >= 5, "control store, raylet twice, its agent, driver, workers"
        assert [one for one in listening if not one.is_loopback] == []
        assert all(answers == {"refused"} for answers in from_outside.values())
        for answers in strangers:
            assert {port: found for port, found in answers.items() if not told_nothing(found)} == {}
        assert {answer for answers in friend.values() for answer in answers} >= {"OK", "HTTP 200"}
        assert not any(answers & GUARDED for answers in friend.values()), "the token opens all of them"
        assert unix
        assert all(not path.startswith("@") and is_private(Path(path)) for path in unix), unix

        assert len(token) == 64
        assert not any(token in command(pid) for pid in below)
        ray_folder = next(Path(path).parents[2] for path in unix if "/sockets/" in path)
        assert not any(token.encode() in path.read_bytes() for path in ray_folder.rglob("*") if path.is_file())

        search.process.send_signal(signal.SIGINT)
        assert search.process.wait(timeout=300) == 130
        wait_until(lambda: not any(is_alive(pid) for pid in below), "an end to its processes")
        assert not ray_folder.parent.exists()
    finally:
        search.end()


@pytest.fixture
def guarded_cluster(networks: Networks, tmp_path: Path) -> Iterator[Inside]:
    """`ray start` with a token, as in docs/cluster.md; it listens on all interfaces."""
    (tmp_path / "token").write_text(RIGHT)
    start = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=6379", "--num-cpus=1"]
    temp = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))  # short, for sockets lie in it
    node = Inside(
        networks.inside,
        [*start, f"--node-ip-address={INSIDE_IP}", "--include-dashboard=false", f"--temp-dir={temp}"],
        cwd=tmp_path,
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"),
        RAY_memory_monitor_refresh_ms="0",
    )
    try:
        node.wait_until(lambda: "Ray runtime started" in node.log.read_text(encoding="utf-8"), "a node")
        yield node
    finally:
        node.end()
        shutil.rmtree(temp, ignore_errors=True)


def test_of_a_cluster_nothing_is_given_without_its_token(
    networks: Networks, guarded_cluster: Inside, tmp_path: Path
) -> None:
    ports = [one.port for one in networks.listeners() if one.protocol == "tcp" and not one.is_loopback]
    assert 6379 in ports
    print(*networks.listeners(), sep="\n")  # noqa: T201 - for a reader
    for shown in (None, WRONG):
        answers = told(networks.outside, INSIDE_IP, shown, ports)
        assert {port: found for port, found in answers.items() if not told_nothing(found)} == {}
    assert "OK" in told(networks.outside, INSIDE_IP, FRIEND + RIGHT, [6379])[6379]

    write_tiny(tmp_path)
    home = tmp_path / "home"
    home.mkdir()

    def carsearch(*arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
        started = time.monotonic()
        done = subprocess.run(
            [*networks.inside, sys.executable, "-m", "search.cli", *arguments, "--address", f"{INSIDE_IP}:6379"],
            cwd=tmp_path,
            env=without_token() | {"PYTHONPATH": str(ROOT), "HOME": str(home)} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done, time.monotonic() - started

    study = tmp_path / "results" / "tiny"
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import search.on_ray.search, search.on_ray.check_access"], cwd=ROOT, check=True
    )
    limit_s = 3 * (time.monotonic() - started) + AT_ONCE_S

    search = ("run", "tiny.yaml", "--set", "search.trials=1")
    without, seconds = carsearch(*search)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1), without.stderr
    assert f"carsearch: the Ray cluster at {INSIDE_IP}:6379 requires a token, and none was found" in without.stderr
    assert seconds < limit_s
    wrong, seconds = carsearch(*search, RAY_AUTH_TOKEN=WRONG)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong.stderr
    assert "refuses the token from the environment variable RAY_AUTH_TOKEN" in wrong.stderr
    assert WRONG not in wrong.stderr
    assert seconds < limit_s
    assert not study.exists(), "a refused search leaves no study behind"

    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(RIGHT)
    right, _ = carsearch(*search, RAY_AUTH_MODE="disabled")
    assert right.returncode == 0, right.stderr
    assert len(read_records(StudyFolder(study))) == 1
    assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert guarded_cluster.process.poll() is None, "it goes on running"
