"""Where segments may run, as the cluster stands now."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from carcls.config import TrainConfig
from search.driver.nodes.node_roster import NodeRoster
from search.on_ray.cluster.live_cluster import LiveCluster
from search.on_ray.cluster.nodes import Node
from search.on_ray.cluster.places import ClusterPlaces
from search.policy.oom import OomKey, OomRecord
from search.worker.segment import Segment

T4, A100 = "Tesla T4, 15360 MiB, share 1", "NVIDIA A100, 81920 MiB, share 1"
STAGE = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.1}
RECIPE = {"backbone": "MobileNet", "image_size": 32, "batch_size": 8, "head": {"batch_norm": False}, "stages": [STAGE]}
SEGMENT = Segment("/study", 0, 0, RECIPE, None, 0, "/data", 0, {}, 1, None, True)


@dataclass
class KnownMemory:
    """Nodes whose memory is known as soon as they are asked."""

    of: dict[str, str]
    asked: list[str] = field(default_factory=list)

    def ask(self, nodes: Iterable[Node]) -> None:
        self.asked += [node.node_id for node in nodes if node.node_id not in self.asked]

    def answers(self) -> Iterator[tuple[str, str]]:
        yield from ((node_id, self.of[node_id]) for node_id in self.asked)


def row(node_id: str, *, alive: bool = True, reason: int = 0) -> dict:
    return {"NodeID": node_id, "Alive": alive, "NodeManagerHostname": node_id, "Resources": {}, "DeathReason": reason}


@pytest.fixture
def cluster() -> LiveCluster:
    return LiveCluster(NodeRoster())


@pytest.fixture
def places(cluster: LiveCluster) -> ClusterPlaces:
    roster = cluster._roster
    made = ClusterPlaces(cluster, roster, KnownMemory({"small": T4, "large": A100}))
    cluster.look([row("small"), row("large")])
    made.take_over()
    return made


def refused_on(device: str) -> Segment:
    config = TrainConfig.model_validate(RECIPE)
    return replace(SEGMENT, oom_records=[OomRecord(OomKey.of(config, 0, device), 1, tries=2).to_json()])


def test_a_segment_avoids_nodes_with_too_little_memory(places: ClusterPlaces, cluster: LiveCluster) -> None:
    assert places.avoided(SEGMENT) == ()
    assert places.avoided(refused_on(T4)) == ("small",)
    assert not places.is_stranded(["small"])
    cluster.look([row("small")])
    places.take_over()
    assert places.is_stranded(["small"]), "the larger one has left"
    assert places.avoided(refused_on(T4)) == (), "its worker then says that it does not fit"
    assert not places.is_stranded([])


def test_a_nodes_death_is_known_once_the_watch_has_seen_it(cluster: LiveCluster) -> None:
    cluster.look([row("a"), row("b")], frozenset({"b"}))
    assert cluster.left_on_purpose("a") is None, "alive: its worker may have died alone"
    assert cluster.left_on_purpose("b") is True, "told to drain"
    cluster.look([row("a", alive=False, reason=2), row("b", alive=False, reason=3)])
    assert (cluster.left_on_purpose("a"), cluster.left_on_purpose("b")) == (False, True)
