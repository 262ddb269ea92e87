"""A control store (GCS) with Redis fault tolerance dies and comes back in the middle of a search."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from search.on_ray.watchdog import LOST_AFTER_S
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from tests.helpers.search.processes import kill, start_cli, wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

pytestmark = [
    pytest.mark.fault,
    pytest.mark.release,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]

AWAY_S = LOST_AFTER_S + 10.0
"""Longer than a search waits by default."""
EPOCHS = 25


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """One node, whose control store keeps everything in Redis."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "Redis", within_s=30)
    monkeypatch.setenv("RAY_REDIS_ADDRESS", f"127.0.0.1:{port}")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "redis_password": ""})
    try:
        yield started
    finally:
        started.shutdown()
        redis.send_signal(signal.SIGTERM)
        redis.wait()


def test_a_store_that_comes_back_within_the_setting_ends_no_search(cluster: Cluster, tmp_path: Path) -> None:
    write_tiny(tmp_path, EXPERIMENT.replace("epochs: 2,", f"epochs: {EPOCHS},"))
    folder = StudyFolder(tmp_path / "results" / "tiny")
    settings = ("--set", f"search.nodes.lost_after_seconds={4 * AWAY_S:g}")
    driver = start_cli("run", "tiny.yaml", "--address", cluster.address, *settings, cwd=tmp_path)

    def output() -> str:
        return (tmp_path / "output.txt").read_text(encoding="utf-8")

    def is_begun() -> bool:
        assert driver.poll() is None, output()
        return folder.log.exists() and any(record.reports for record in read_records(folder))

    try:
        wait_until(is_begun, "an epoch")
        cluster.head_node.kill_gcs_server()
        time.sleep(AWAY_S)  # what is tested: the store is away for so long
        assert driver.poll() is None, output()
        cluster.head_node.start_gcs_server()
        assert driver.wait(timeout=300) == 0, output()
    finally:
        kill({driver.pid})
    records = read_records(folder)
    assert len(records) == 4
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    for record in records:
        assert [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
        assert record.deaths == (), "no trial died with the store"
    assert "is lost" not in output()
    assert "Traceback" not in output()
