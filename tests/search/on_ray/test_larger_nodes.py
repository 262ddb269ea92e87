"""Ray places a trial that a small node refused on the larger one. The nodes' memory is made up; all else is real."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from carcls.config import TrainConfig
from search.driver.interrupts import Interrupts
from search.driver.nodes.node_roster import NodeRoster
from search.on_ray.cluster.live_cluster import LiveCluster
from search.on_ray.cluster.nodes import ResourcePlan, alive_nodes
from search.on_ray.cluster.places import ClusterPlaces
from search.on_ray.ray_executor import RayExecutor
from search.policy.oom import OomKey, OomRecord
from search.policy.records import TrialState
from search.worker.segment import Outcome, Placed, Segment, to_wire
from tests.helpers.search.dispatch_desk import CPU
from tests.helpers.search.trial_builders import epoch_report
from tests.search.on_ray.test_places import KnownMemory

pytestmark = [pytest.mark.slow, pytest.mark.release]

SMALL, LARGE = "Tesla T4, 15360 MiB, share 1", "NVIDIA A100, 81920 MiB, share 1"
CARD = "card"
"""A resource of both nodes, of which the large one has two."""


@pytest.fixture
def nodes() -> Iterator[tuple[str, str]]:
    """Ids of the small and of the large node of a cluster."""
    cluster = Cluster()
    try:
        for cards in (1, 2):
            cluster.add_node(num_cpus=1, resources={CARD: cards})
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        by_cards = {row["Resources"][CARD]: row["NodeID"] for row in ray.nodes()}
        yield by_cards[1.0], by_cards[2.0]
    finally:
        ray.shutdown()
        cluster.shutdown()


def train_where_there_is_room(config: dict[str, Any]) -> None:
    """A worker whose node has room for no trial, unless it is the large one."""
    from ray import tune

    from tests.helpers.search.processes import wait_until

    segment, own = Segment(**config["segment"]), ray.get_runtime_context().get_node_id()
    cards = next(row["Resources"][CARD] for row in ray.nodes() if row["NodeID"] == own)
    size = "large" if cards == 2 else "small"
    (Path(segment.study) / f"at-{segment.number}-{segment.attempt}").write_text(size, encoding="utf-8")
    tune.report(to_wire(Placed(own, size)))
    if cards == 1:
        record = OomRecord(OomKey.of(TrainConfig.model_validate(segment.config), 0, SMALL), 1, tries=2)
        tune.report(to_wire(Outcome("out_of_memory", "no room", stage=0, oom_record=record.to_json())))
        return
    # Else the large node might take both trials, one after the other.
    wait_until(lambda: "small" in {file.read_text("utf-8") for file in Path(segment.study).glob("at-*")}, "a refusal")
    for epoch, stage in ((1, 0), (2, 0), (3, 1)):
        tune.report(to_wire(epoch_report(epoch, stage=stage, ended=epoch > 1)))
    tune.report(to_wire(Outcome("ended")))


def test_what_the_small_node_refuses_runs_on_the_large_one(
    nodes: tuple[str, str], open_desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    small, large = nodes
    roster = NodeRoster()
    cluster = LiveCluster(roster)
    cluster.look(ray.nodes())
    assert len(alive_nodes(ray.nodes())) == 2
    desk = open_desk(
        "search.trials=2",
        "search.scheduler={kind: none}",
        "train.head={batch_norm: false, dropout: 0.0}",
        worker=replace(CPU, requires={"version": "any"}),
        roster=roster,
    )
    executor = RayExecutor(
        desk.folder,
        ResourcePlan(cpus=1, gpus=0.0, concurrent=2),
        deadline=desk.experiment.search.deadline,
        interrupts=Interrupts(),
        how="again",
        places=ClusterPlaces(cluster, roster, KnownMemory({small: SMALL, large: LARGE})),
        trainable=train_where_there_is_room,
    )
    with contextlib.suppress(KeyboardInterrupt):
        executor.run(desk.dispatcher)
    assert desk.dispatcher.finished
    records = desk.study.records()
    assert [record.state for record in records] == [TrialState.COMPLETE] * 2
    places = [
        [
            (desk.folder.root / f"at-{one.number}-{attempt}").read_text(encoding="utf-8")
            for attempt in range(one.attempts)
        ]
        for one in records
    ]
    refused = ["small", "large"]
    assert refused in places, "one trial was on the small node"
    assert all(one in (["large"], refused) for one in places), "and none was placed there again"
    assert all(record.deaths == () for record in records)
