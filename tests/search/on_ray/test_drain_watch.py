"""A worker learns from Ray that its own node was told to leave."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from search.on_ray.cluster.nodes import alive_nodes, pinned_to
from tests.helpers.search.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.release]

WITHIN_S = 60.0
REASON = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "300")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    try:
        for _ in range(2):
            started.add_node(num_cpus=1)
        started.wait_for_nodes()
        ray.init(address=started.address, log_to_driver=False)
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def leaves_within(seconds: float, begun: Path) -> bool:
    """Runs on a node, in one worker from the beginning. Touches a file once it has begun."""
    from search.on_ray.cluster.drain_watch import should_hand_over

    begun.touch()
    end_s = time.monotonic() + seconds
    while not should_hand_over():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def test_the_drained_node_knows_and_the_other_stays(cluster: Cluster, tmp_path: Path) -> None:
    drained, other = alive_nodes(ray.nodes())
    asked = ray.remote(num_cpus=1)(leaves_within)  # an idle node would leave at once
    stays = pinned_to(asked, other).remote(15.0, tmp_path / "other")
    leaves = pinned_to(asked, drained).remote(WITHIN_S, tmp_path / "drained")
    wait_until((tmp_path / "drained").exists, "the worker on the node", within_s=WITHIN_S)
    command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", cluster.address]
    subprocess.run([*command, "--node-id", drained.node_id, *REASON], check=True, capture_output=True)
    assert ray.get(leaves, timeout=2 * WITHIN_S)
    assert not ray.get(stays, timeout=2 * WITHIN_S)
