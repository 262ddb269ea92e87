"""The cluster as it is now: the watch's thread writes what it sees, the driver's thread reads it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from search.driver.node_roster import NodeRoster, SeenNode
from search.on_ray.nodes import Node, ResourcePlan, alive_nodes, slots
from search.on_ray.ray_private import leaving_nodes

_ON_PURPOSE = (1, 3, 4)
"""Ray's reasons of a node's death that were announced: expected termination, and drained for preemption or idleness."""
_NEWS_WITHIN_S = 3.0
"""How long a node's death may become known after that of its workers."""


@dataclass(frozen=True, slots=True)
class View:
    """One look at the cluster."""

    nodes: tuple[Node, ...] = ()
    """Alive ones."""
    leaving: frozenset[str] = frozenset()
    """Ids of alive nodes that were told to drain."""


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
        self._view = View(tuple(alive_nodes(rows)), leaving)

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

    def left_on_purpose(self, node_id: str, *, clock_s: Callable[[], float] = time.monotonic) -> bool:
        """True if a node whose worker was lost had been told to leave. Waits up to 3 s for the news of its death."""
        end_s = clock_s() + _NEWS_WITHIN_S
        while True:
            row = next((row for row in ray.nodes() if row["NodeID"] == node_id), None)
            if row is None or node_id in self._view.leaving or node_id in leaving_nodes():
                return row is not None
            if not row["Alive"]:
                return row.get("DeathReason") in _ON_PURPOSE
            if clock_s() >= end_s:
                return False
            time.sleep(0.2)
