"""The nodes of a cluster during one run: where trials run, what went wrong there, and which nodes are left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.policy import node_health
from search.policy.node_health import NodeHealth
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_NODES_OF_ONE_TRIAL = 2
"""A trial with faults on so many nodes and no epoch is not taken for a victim of the third."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node as the cluster reports it now."""

    node_id: str
    name: str
    is_leaving: bool = False


class NodeRoster:
    """Counts faults by node. Not thread-safe: call it on the dispatcher's thread.

    Empty on a single machine, where no fault is a node's own.
    """

    def __init__(self, exclude_after: int = 2, *, what: str = "node") -> None:
        """exclude_after: a node is left out after so many faults without an epoch between them. what: its kind, for the
        log; `search.driver.nodes.gpu_book` counts the faults of GPUs in the same way."""
        self._exclude_after = exclude_after
        self._what = what
        self._nodes: dict[str, NodeHealth] = {}
        self._homes: dict[int, str] = {}
        self._struck: dict[int, set[str]] = {}
        """Nodes on which each trial has had a fault since its last epoch."""
        self._known_excluded: frozenset[str] = frozenset()

    @property
    def nodes(self) -> tuple[NodeHealth, ...]:
        """All nodes seen in this run, in order of appearance."""
        return tuple(self._nodes.values())

    def to_json(self) -> dict[str, Any]:
        """All nodes as plain JSON values, with the limit that excludes them."""
        return {"exclude_after": self._exclude_after, "nodes": [node.to_json() for node in self.nodes]}

    def saw(self, alive: Iterable[SeenNode]) -> None:
        """Take over the cluster's present nodes. Logs nodes that join or leave after the first call."""
        present = {one.node_id: one for one in alive}
        is_first = not self._nodes
        for node_id, one in present.items():
            before = self._nodes.get(node_id)
            if before is None and not is_first:
                _log.info("%s has joined the cluster", one.name)
            self._nodes[node_id] = replace(
                before or NodeHealth(node_id, one.name), name=one.name, is_alive=True, is_leaving=one.is_leaving
            )
            if one.is_leaving and not (before and before.is_leaving):
                _log.info("%s is leaving the cluster: its trials move on", one.name)
        for node_id, node in self._nodes.items():
            if node.is_alive and node_id not in present:
                _log.info("%s has left the cluster", node.name)
                self._nodes[node_id] = replace(node, is_alive=False)
        self._tell_excluded()

    def placed(self, number: int, node_id: str, name: str) -> str:
        """A trial's segment runs on this node. Returns the node's name."""
        self._homes[number] = node_id
        return self._nodes.setdefault(node_id, NodeHealth(node_id, name)).name

    def home(self, number: int) -> NodeHealth | None:
        """The node of a trial's latest segment, or None if unknown."""
        return self._nodes.get(self._homes.get(number, ""))

    def forget_home(self, number: int) -> None:
        """A new segment of this trial was handed out; its node is not known yet."""
        self._homes.pop(number, None)

    def learned(self, node_id: str, device: str) -> None:
        """A node has told the name of its memory."""
        if node_id in self._nodes:
            self._nodes[node_id] = replace(self._nodes[node_id], device=device)

    def devices(self) -> dict[str, str]:
        """Names of the memory of the nodes that get segments now, by node; empty texts for unknown ones."""
        excluded = self.excluded_ids()
        return {node.node_id: node.device for node in self.nodes if node.is_alive and node.node_id not in excluded}

    def progressed(self, number: int) -> bool:
        """A trial has trained an epoch on its node. Returns whether that changed the node's health."""
        self._struck.pop(number, None)
        node = self.home(number)
        if node is None or node_health.progressed(node) is node:
            return False
        self._nodes[node.node_id] = node_health.progressed(node)
        return True

    def faulted(self, number: int, cause: str) -> NodeHealth | None:
        """Count a fault of a trial's segment against its node.

        Returns the node if others can take its work, so that the search goes on without waiting; None if the fault
        concerns the whole search: the node is unknown, no other works, or the trial has had faults on two others, so
        that it would spoil one node after another.
        """
        node = self.home(number)
        struck = self._struck.setdefault(number, set())
        if node is None or len(struck - {node.node_id}) >= _NODES_OF_ONE_TRIAL:
            return None
        struck.add(node.node_id)
        after = self._nodes[node.node_id] = node_health.faulted(node, cause)
        others = node_health.has_other(self.nodes, node.node_id, self._exclude_after)
        if others:
            _log.warning("%s: %s; trial %d continues on another %s", node.name, cause, number, self._what)
        self._tell_excluded()
        return after if others else None

    def condemn(self, node_id: str, name: str, cause: str) -> None:
        """A probe found that this node cannot run the search."""
        self._nodes[node_id] = node_health.condemned(self._nodes.get(node_id, NodeHealth(node_id, name)), cause)
        self._tell_excluded()

    def excluded_ids(self) -> tuple[str, ...]:
        """Nodes that must not get segments, sorted: spoilt ones, and those that are leaving."""
        leaving = (node.node_id for node in self.nodes if node.is_alive and node.is_leaving)
        return tuple(sorted({*leaving, *(node.node_id for node in self._excluded())}))

    def _excluded(self) -> Sequence[NodeHealth]:
        return node_health.excluded(self.nodes, self._exclude_after)

    def _tell_excluded(self) -> None:
        now = self._excluded()
        for node in now:
            if node.node_id not in self._known_excluded:
                _log.warning("%s gets no more trials in this run: %s", node.name, node.cause)
        self._known_excluded = frozenset(node.node_id for node in now)
