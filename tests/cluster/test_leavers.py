"""Hosts that leave a running search: told to, or not."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.policy.records import TrialState
from tests.cluster.place import HEAD_EPOCHS, Place
from tests.helpers.network.hosts import Host
from tests.helpers.search.processes import kill, wait_until

pytestmark = [pytest.mark.fault, pytest.mark.release]


def node_id(place: Place, host: Host) -> str:
    """The id that Ray gave to a host, from the driver's point of view."""
    script = (
        f"import ray; ray.init(address='{place.hosts.address}', logging_level=50);"
        f"print(*(row['NodeID'] for row in ray.nodes() if row['NodeManagerAddress'] == '{host.ip}'))"
    )
    env = ["env", "RAY_AUTH_MODE=token"]
    done = subprocess.run(
        [*place.hosts.head.inside, *env, sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]


@pytest.mark.parametrize("how", ["drained", "killed"])
def test_trials_of_a_leaving_host_continue_and_only_a_kill_is_a_death(place: Place, how: str) -> None:
    place.add()
    leaver = place.add()
    driver = place.run("--set", "search.trials=4")
    try:
        number = place.await_trial_on(leaver, before=HEAD_EPOCHS // 2)
        if how == "drained":
            ray = str(Path(sys.executable).with_name("ray"))
            drain = [ray, "drain-node", "--address", place.hosts.address, "--node-id", node_id(place, leaver)]
            told = [
                "--reason",
                "DRAIN_NODE_REASON_PREEMPTION",
                "--reason-message",
                "spot",
                "--deadline-remaining-seconds",
                "60",
            ]
            env = ["env", "RAY_AUTH_MODE=token"]
            subprocess.run([*place.hosts.head.inside, *env, *drain, *told], check=True, capture_output=True)
            wait_until(lambda: place.records()[number].attempts > 1, "its next attempt", within_s=60)
        else:
            leaver.kill()
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})
    records = place.records()
    assert len(records) == 4
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(records[number].deaths) == (how == "killed")
    assert records[number].nodes[0] == leaver.name
    for record in records:
        assert [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
    assert "ERROR" not in place.output()
    if how == "drained":
        assert f"{leaver.name} is leaving the cluster" in place.output()
