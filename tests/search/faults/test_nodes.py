"""Real kills, stops and losses of a cluster's nodes. Each node has its own mount namespace."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from search.on_ray.watchdog import LOST_AFTER_S
from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from tests.helpers.network.nodes import Node, Nodes, can_unshare, trial_of
from tests.helpers.search.processes import descendants, is_alive, kill, run_cli, start_cli, wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

pytestmark = [pytest.mark.fault, pytest.mark.skipif(not can_unshare(), reason="needs mount namespaces, and root")]

HEAD_EPOCHS = 40
"""Epochs of a stage, enough to kill it in its middle."""
TEXT = EXPERIMENT.replace("epochs: 2,", f"epochs: {HEAD_EPOCHS},").replace("max_concurrent: 1", "max_concurrent: 2")
GONE_AFTER_S = 10.0
STOPPED_NODE_S = 90.0
"""Seconds within which a hanging node counts as lost; with these settings it takes 39 s."""


class Place:
    """Nodes with their own photos and store; they share only `results`."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.results = cwd / "results"
        self.folder = StudyFolder(self.results / "tiny")
        write_tiny(cwd, TEXT.replace("tta:", f"store: {{root: {cwd / 'store'}}}\ntta:"))
        for seen in (self.results, cwd / "store"):
            seen.mkdir()
        self.nodes = Nodes(cwd)

    def private(self, name: str) -> dict[Path, Path]:
        own = self.cwd / f"of-{name}"
        shutil.copytree(self.cwd / "data", own / "data")
        (own / "store").mkdir()
        return {self.cwd / "data": own / "data", self.cwd / "store": own / "store"}

    def drive(self, *command: str) -> "subprocess.Popen[str]":
        return start_cli(*(command or ("run", "tiny.yaml")), "--address", self.nodes.address, cwd=self.cwd)

    def output(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8")

    def records(self) -> tuple[TrialRecord, ...]:
        return read_records(self.folder) if self.folder.log.exists() else ()

    def await_trial_in_its_middle(self, driver: "subprocess.Popen[str]", node: Node) -> int:
        """Number of a trial on that node that has trained an epoch of its segment and has many left."""
        found: list[int] = []

        def is_there() -> bool:
            assert driver.poll() is None, self.output()
            numbers = {trial_of(child) for child in node.children()}
            records = [record for record in self.records() if record.number in numbers]
            found.extend(record.number for record in records if 1 <= record.fidelity <= HEAD_EPOCHS // 2)
            return bool(found)

        wait_until(is_there, "a trial in the middle of its first stage")
        return found[0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    made = Place(tmp_path)
    yield made
    made.nodes.end()


def test_trials_of_a_killed_node_resume_on_another(place: Place) -> None:
    place.nodes.start(place.private("first"))
    second = place.nodes.start(place.private("second"))
    driver = place.drive()
    try:
        number = place.await_trial_in_its_middle(driver, second)
        second.kill()
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})

    records = place.records()
    struck = records[number]
    assert len(struck.deaths) == 1
    assert struck.deaths[0] >= 1
    attempts = [report.checkpoint.partition("/")[0] for report in struck.reports]
    assert attempts[: struck.deaths[0]] == ["attempt-0"] * struck.deaths[0], "epochs trained there are kept"
    assert attempts[struck.deaths[0]] == "attempt-1", "and none of them is trained again"
    _assert_whole(records)
    assert "ERROR" not in place.output()
    assert "marked dead" not in place.output(), "Ray's line goes to a file"
    assert "marked dead" in (place.folder.root / "ray.log").read_text(encoding="utf-8")


@pytest.mark.release  # over three minutes, most of them until Ray misses a stopped node
def test_a_stopped_node_is_left_and_a_lost_cluster_ends_the_driver(place: Place) -> None:
    head = place.nodes.start(place.private("first"))
    second = place.nodes.start(place.private("second"))
    driver = place.drive()
    try:
        number = place.await_trial_in_its_middle(driver, second)
        for stopped in (second.find("raylet/raylet"), *second.children()):  # otherwise a fast trial would end first
            os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: bool(place.records()[number].deaths), "its trial left it", within_s=STOPPED_NODE_S)
        wait_until(lambda: place.records()[number].attempts > 1, "its trial's start on the other")
        wait_until(lambda: bool(head.children()), "its process there")
        for child in head.children():
            os.kill(child, signal.SIGSTOP)  # so that the search cannot end before its cluster does
        below = set(descendants(driver.pid))
        os.kill(head.find("gcs/gcs_server"), signal.SIGKILL)
        assert driver.wait(timeout=LOST_AFTER_S + 40) == 2, place.output()
        wait_until(lambda: not any(is_alive(pid) for pid in below), "an end to all of its processes", within_s=5)
    finally:
        kill({driver.pid})
    assert place.output().count("is lost: its control store has not answered") == 1
    assert f"carsearch resume {place.folder.root}" in place.output()
    assert "Traceback" not in place.output()
    before = place.records()
    place.nodes.end()

    resumed = run_cli("resume", str(place.folder.root), cwd=place.cwd)  # on this machine alone
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    for old in before:
        assert place.records()[old.number].reports[: old.fidelity] == old.reports
    _assert_whole(place.records())


def test_nothing_trains_on_after_the_driver_or_with_it_the_head_is_gone(place: Place) -> None:
    head = place.nodes.start(place.private("first"))
    second = place.nodes.start(place.private("second"))
    for loses_head in (False, True):
        driver = place.drive("resume", str(place.folder.root)) if loses_head else place.drive()
        try:
            place.await_trial_in_its_middle(driver, second)
            ours = {pid for node in (head, second) for pid in node.trainers()}
            assert len(ours) >= 3, "an actor, its fork server and its child"
            if loses_head:
                head.kill()
            kill({driver.pid})
            what = "an end to its processes on all nodes"
            wait_until(lambda pids=ours: not any(map(is_alive, pids)), what, within_s=GONE_AFTER_S)
            driver.wait()
        finally:
            kill({driver.pid})
    assert is_alive(second.find("raylet/raylet")), "the node waits for its cluster"


def _assert_whole(records: tuple[TrialRecord, ...]) -> None:
    """Checks that no trial is lost or trained twice, and that the baseline is complete."""
    assert len(records) == 4
    assert records[0].state is TrialState.COMPLETE
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    for record in records:
        assert [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
        assert record.fidelity in (HEAD_EPOCHS, HEAD_EPOCHS + 1)
