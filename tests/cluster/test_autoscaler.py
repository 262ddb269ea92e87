"""Ray's own autoscaler with its provider of fake nodes: processes on the head's host."""

import json

import pytest

from tests.cluster.place import Place, Values, values
from tests.helpers.network.hosts import Host
from tests.helpers.search.processes import kill, wait_until

pytestmark = [pytest.mark.fault, pytest.mark.release]

CLUSTER = {
    "cluster_name": "fake",
    "max_workers": 3,
    "upscaling_speed": 10.0,
    "idle_timeout_minutes": 0.5,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 3},
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "rsync_exclude": [],
    "rsync_filter": [],
}
"""As `ray up` fills it in."""


def workers(head: Host) -> int:
    """Ray nodes beside the head."""
    return sum("/raylet/raylet " in command for command in head.processes()) - 1


def test_an_autoscaler_starts_three_nodes_for_a_search_and_ends_them_after_it(
    same_at_once: Place, undisturbed: Values
) -> None:
    place = same_at_once
    config = place.cwd / "autoscaler.json"
    config.write_text(json.dumps(CLUSTER), encoding="utf-8")
    env = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    head = place.add(f"--autoscaling-config={config}", cpus=0, own_processes=True, env=env)
    wait_until(lambda: workers(head) == 0, "a head alone", within_s=30)
    driver = place.run("--set", "search.max_concurrent=3")
    try:
        wait_until(lambda: workers(head) == 3 or driver.poll() is not None, "three nodes")
        assert driver.poll() is None, place.output()
        assert driver.wait(timeout=300) == 0, place.output()
        wait_until(lambda: workers(head) == 0, "an end to idle nodes", within_s=120)
    finally:
        kill({driver.pid})
    assert "waiting up to 15 minutes for a node" in place.output()
    assert values(place.records()) == undisturbed
    assert not any(record.deaths for record in place.records())
    assert "ERROR" not in place.output()
