"""The cluster as it is now: the watch's thread writes what it sees, the driver's thread reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.driver.nodes.node_roster import NodeRoster, SeenNode
from search.on_ray.cluster.nodes import Node, ResourcePlan, alive_nodes, slots

_ON_PURPOSE = (1, 3, 4)
"""Ray's reasons of a node's death that were announced: expected termination, and drained for preemption or idleness."""


@dataclass(frozen=True, slots=True)
class View:
    """One look at the cluster."""

    nodes: tuple[Node, ...] = ()
    """Alive ones."""
    leaving: frozenset[str] = frozenset()
    """Ids of alive nodes that were told to drain."""
    dead: Mapping[str, int] = field(default_factory=dict)
    """Ids of dead nodes, with Ray's reason of their death."""


class LiveCluster:
    """The alive nodes, and how many trials they can run."""

    def __init__(self, roster: NodeRoster) -> None:
        self._roster = roster
        self._view = View()
        self._taken_over: View | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The alive nodes at the latest look."""
        return self._view.nodes

    def look(self, rows: Sequence[Mapping[str, Any]], leaving: frozenset[str] = frozenset()) -> None:
        """Keep what Ray says of its nodes. Any thread."""
        dead = {row["NodeID"]: row.get("DeathReason", 0) for row in rows if not row["Alive"]}
        self._view = View(tuple(alive_nodes(rows)), leaving, dead)

    def take_over(self) -> None:
        """Tell the roster of nodes that have joined, leave or are gone. Driver's thread. Cheap without news."""
        view = self._view
        if view is self._taken_over:
            return
        self._taken_over = view
        self._roster.saw(SeenNode(node.node_id, node.name, node.node_id in view.leaving) for node in view.nodes)

    def concurrent(self, plan: ResourcePlan, max_concurrent: int | None) -> int:
        """How many segments to hand out at once: `max_concurrent`, whether or not there is room now, else as many as
        the working nodes have room for."""
        if max_concurrent is not None:
            return max_concurrent
        avoided = self._roster.excluded_ids()
        return sum(slots(node, plan) for node in self.nodes if node.node_id not in avoided)

    def left_on_purpose(self, node_id: str) -> bool | None:
        """True if a node has left the cluster, or is about to, because it was told to; None as long as it is alive."""
        view = self._view
        if node_id in view.leaving:
            return True
        reason = view.dead.get(node_id)
        return None if reason is None else reason in _ON_PURPOSE
