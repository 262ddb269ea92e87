"""Which nodes of a cluster may train, decided from what went wrong on them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

NODE_FAULTS = frozenset({"unfit", "unavailable", "disk_full", "unable"})
"""Kinds of outcomes that another node might not have had."""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One node, as the driver has seen it in this run."""

    node_id: str
    name: str
    is_alive: bool = True
    is_leaving: bool = False
    """Whether it was told to drain; it then gets no new segments."""
    faults: int = 0
    """Faults since the last epoch that was trained there."""
    cause: str = ""
    """One line on the latest fault."""
    device: str = ""
    """Memory of a trial there, as `search.worker.machine_memory` names it; empty if unknown."""
    is_condemned: bool = False
    """Whether a probe found that it cannot run the search at all."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote; unknown keys of a later version are ignored."""
        return cls(**{key: values[key] for key in cls.__slots__ if key in values})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def faulted(node: NodeHealth, cause: str) -> NodeHealth:
    """The node after one more fault of its own."""
    return replace(node, faults=node.faults + 1, cause=cause)


def condemned(node: NodeHealth, cause: str) -> NodeHealth:
    """The node after a probe that no segment would survive there."""
    return replace(node, is_condemned=True, cause=cause)


def progressed(node: NodeHealth) -> NodeHealth:
    """The node after an epoch trained there: its faults are forgotten."""
    return replace(node, faults=0, cause="", is_condemned=False) if node.cause else node


def is_spoilt(node: NodeHealth, exclude_after: int) -> bool:
    """True for a node with too many faults, whether or not others could take its work."""
    return node.is_condemned or node.faults >= exclude_after


def has_other(nodes: Iterable[NodeHealth], node_id: str, exclude_after: int) -> bool:
    """True if another node could take the work of this one."""
    return any(
        node.node_id != node_id and node.is_alive and not node.is_leaving and not is_spoilt(node, exclude_after)
        for node in nodes
    )


def excluded(nodes: Sequence[NodeHealth], exclude_after: int) -> tuple[NodeHealth, ...]:
    """Alive nodes that get no segments because of their faults.

    Empty if every alive node is spoilt: one of them is then tried from time to time, since its user may have repaired
    it.
    """
    alive = [node for node in nodes if node.is_alive and not node.is_leaving]
    spoilt = tuple(node for node in alive if is_spoilt(node, exclude_after))
    return () if len(spoilt) == len(alive) else spoilt


def state_of(node: NodeHealth, exclude_after: int) -> str:
    """The node's state in one word or two, for users."""
    if not node.is_alive:
        return "gone"
    if is_spoilt(node, exclude_after):
        return "excluded"
    return "leaving" if node.is_leaving else "working"
