"""What the driver asks the cluster about the nodes of running segments."""

from collections.abc import Sequence
from typing import Any, Protocol

from carcls.config import TrainConfig
from search.driver.nodes.node_roster import NodeRoster
from search.on_ray.cluster.live_cluster import LiveCluster
from search.on_ray.cluster.node_memory import NodeMemory
from search.on_ray.ray_private import node_of
from search.policy.larger_memory import too_small
from search.policy.oom import OomRecord
from search.worker.segment import Outcome, Segment

NEWS_WITHIN_S = 5.0
"""How long a node's death may become known after that of its workers: the watch looks every two seconds."""
AVOID = "avoid"
"""Key of a Tune trial's configuration: ids of the nodes on which it must not run."""
NODE_ID_LABEL = "ray.io/node-id"


class Places(Protocol):
    """Used on the driver's thread only."""

    def take_over(self) -> None:
        """Notice nodes that have joined or left. Called ten times a second."""

    def avoided(self, segment: Segment) -> Sequence[str]:
        """Ids of the nodes on which a segment should not start now."""
        ...

    def is_stranded(self, avoided: Sequence[str]) -> bool:
        """True if a segment that waits for a place outside these nodes waits in vain, as others have left since."""
        ...

    def why_leave(self, number: int) -> str | None:
        """Why a running trial should move to another node after its epoch, as a clause, or None."""
        ...

    def lost(self, number: int, actor: Any, outcome: Outcome, *, waited_s: float) -> Outcome | None:  # noqa: ANN401 - Ray's handles have no type
        """The outcome of a trial whose actor was lost `waited_s` seconds ago, given Ray's own words as an outcome; None
        if the caller should ask again, since the cluster may know more soon. Does not wait."""
        ...


class AnyPlace:
    """One machine: there is nothing to avoid and nowhere to go."""

    def take_over(self) -> None:
        """No news."""

    def is_stranded(self, avoided: Sequence[str]) -> bool:
        """Never."""
        del avoided
        return False

    def avoided(self, segment: Segment) -> Sequence[str]:
        """None."""
        del segment
        return ()

    def why_leave(self, number: int) -> str | None:
        """No reason."""
        del number
        return None

    def lost(self, number: int, actor: Any, outcome: Outcome, *, waited_s: float) -> Outcome:  # noqa: ANN401 - Ray's handles have no type
        """As Ray tells it."""
        del number, actor, waited_s
        return outcome


ANY_PLACE = AnyPlace()


class ClusterPlaces:
    """The nodes of a cluster."""

    def __init__(self, cluster: LiveCluster, roster: NodeRoster, memory: NodeMemory) -> None:
        self._cluster = cluster
        self._roster = roster
        self._memory = memory

    def take_over(self) -> None:
        """See `LiveCluster.take_over`. Also learns the memory of new nodes."""
        self._cluster.take_over()
        self._memory.ask(self._cluster.nodes)
        for node_id, device in self._memory.answers():
            self._roster.learned(node_id, device)

    def avoided(self, segment: Segment) -> Sequence[str]:
        """Excluded nodes, and those that are known to have too little memory for the segment, unless all have."""
        excluded = self._roster.excluded_ids()
        if not segment.oom_records:
            return excluded
        records = [OomRecord.from_json(one) for one in segment.oom_records]
        stages = range(segment.first_stage, segment.stop_after_stage + 1)
        config = TrainConfig.model_validate(segment.config)
        return tuple(sorted({*excluded, *too_small(self._roster.devices(), records, config, stages)}))

    def is_stranded(self, avoided: Sequence[str]) -> bool:
        """True if every node that gets segments now is among these."""
        usable = self._roster.devices()
        return bool(usable) and usable.keys() <= set(avoided)

    def why_leave(self, number: int) -> str | None:
        """Its node was told to drain."""
        node = self._roster.home(number)
        return f"{node.name} is leaving the cluster" if node is not None and node.is_leaving else None

    def lost(self, number: int, actor: Any, outcome: Outcome, *, waited_s: float) -> Outcome | None:  # noqa: ANN401 - Ray's handles have no type
        """`preempted` if its node was told to leave. Notes the node of an actor that could not even start."""
        node_id = node_of(actor) if actor is not None else None
        if node_id is None:
            return outcome
        if self._roster.home(number) is None:
            name = next((node.name for node in self._roster.nodes if node.node_id == node_id), node_id[:8])
            self._roster.placed(number, node_id, name)
        if outcome.kind != "killed":
            return outcome
        on_purpose = self._cluster.left_on_purpose(node_id)
        if on_purpose is None and waited_s < NEWS_WITHIN_S:
            return None
        return Outcome("preempted", outcome.cause) if on_purpose else outcome
