"""What the driver asks the cluster about the nodes of running segments."""

from collections.abc import Sequence
from typing import Any, Protocol

from search.driver.node_roster import NodeRoster
from search.on_ray.live_cluster import LiveCluster
from search.on_ray.ray_private import node_of
from search.worker.segment import Outcome

NEWS_WITHIN_S = 5.0
"""How long a node's death may become known after that of its workers: the watch looks every two seconds."""
AVOID = "avoid"
"""Key of a Tune trial's configuration: ids of the nodes on which it must not run."""
NODE_ID_LABEL = "ray.io/node-id"


class Places(Protocol):
    """Used on the driver's thread only."""

    def take_over(self) -> None:
        """Notice nodes that have joined or left. Called ten times a second."""

    def avoided(self) -> Sequence[str]:
        """Ids of the nodes on which no segment should start now."""
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

    def avoided(self) -> Sequence[str]:
        """None."""
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

    def __init__(self, cluster: LiveCluster, roster: NodeRoster) -> None:
        self._cluster = cluster
        self._roster = roster

    def take_over(self) -> None:
        """See `LiveCluster.take_over`."""
        self._cluster.take_over()

    def avoided(self) -> Sequence[str]:
        """See `NodeRoster.excluded_ids`."""
        return self._roster.excluded_ids()

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
