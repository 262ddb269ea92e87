"""The nodes of a cluster, and how trials share their resources."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.errors import ClusterError

_CPU_TRIAL_MAX_CPUS = 4
"""Without GPUs, more threads than this speed up small-batch training little; two trials at once do better."""

_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class Node:
    """An alive node of the cluster."""

    node_id: str
    name: str
    cpus: float
    gpus: float
    accelerators: tuple[str, ...] = ()
    """Types of its GPUs, as Ray names them."""


@dataclass(frozen=True, slots=True)
class ResourcePlan:
    """The resources of each trial, and how many trials run at once."""

    cpus: int
    gpus: float
    concurrent: int
    accelerator: str | None = None
    """Type of GPU that each trial needs, as Ray names it, or None for any."""

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray is asked for."""
        wanted = {"CPU": float(self.cpus), "GPU": self.gpus}
        return wanted if self.accelerator is None else wanted | {accelerator_resource(self.accelerator): 0.001}


def accelerator_resource(name: str) -> str:
    """Ray's resource of the nodes that have this type of GPU; a trial asks for a thousandth of it."""
    return f"{_ACCELERATOR}{name}"


def alive_nodes(rows: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The alive nodes among Ray's rows. Nodes with the same host name are named by their address too."""
    alive = [row for row in rows if row["Alive"]]
    hosts = Counter(row.get("NodeManagerHostname") for row in alive)
    return [
        Node(
            node_id=row["NodeID"],
            name=_name(row, is_unique=hosts[row.get("NodeManagerHostname")] == 1),
            cpus=row["Resources"].get("CPU", 0.0),
            gpus=row["Resources"].get("GPU", 0.0),
            accelerators=tuple(
                key.removeprefix(_ACCELERATOR) for key in row["Resources"] if key.startswith(_ACCELERATOR)
            ),
        )
        for row in alive
    ]


def _name(row: Mapping[str, Any], *, is_unique: bool) -> str:
    host = row.get("NodeManagerHostname") or row["NodeID"][:8]
    return host if is_unique else f"{host} ({row.get('NodeManagerAddress') or row['NodeID'][:8]})"


def plan_resources(
    nodes: Sequence[Node],
    *,
    gpus_per_trial: float | None,
    cpus_per_trial: int | None,
    max_concurrent: int | None,
    accelerator: str | None = None,
) -> ResourcePlan:
    """Divides the nodes among trials.

    By default a trial gets one GPU, if there is any, and its share of the node's cores; without GPUs, up to four cores.
    Raises ClusterError if no node has room for one trial.
    """
    has_gpus = accelerator is not None or any(node.gpus >= 1 for node in nodes)
    gpus = float(has_gpus) if gpus_per_trial is None else gpus_per_trial
    cpus = cpus_per_trial or _default_cpus(nodes, gpus)
    plan = ResourcePlan(cpus=cpus, gpus=gpus, concurrent=1, accelerator=accelerator)
    room = sum(slots(node, plan) for node in nodes)
    if room == 0:
        found = "; ".join(f"{node.name}: {node.cpus:g} CPUs, {node.gpus:g} GPUs" for node in nodes) or "no node"
        kind = f" of type {accelerator}" if accelerator else ""
        raise ClusterError(
            f"no node has room for one trial of {cpus} CPUs and {gpus:g} GPUs{kind} (found {found}):"
            " lower search.resources.cpus_per_trial or gpus_per_trial"
        )
    return replace(plan, concurrent=min(room, max_concurrent or room))


def _default_cpus(nodes: Sequence[Node], gpus: float) -> int:
    if gpus > 0:
        shares = [int(node.cpus * gpus / node.gpus) for node in nodes if node.gpus >= gpus]
        return max(1, min(shares, default=1))
    return max(1, min(_CPU_TRIAL_MAX_CPUS, *(int(node.cpus) for node in nodes)) if nodes else 1)


def slots(node: Node, plan: ResourcePlan) -> int:
    """How many trials a node has room for. Pure."""
    if plan.accelerator is not None and plan.accelerator not in node.accelerators:
        return 0
    by_cpu, gpus = int(node.cpus // plan.cpus), plan.gpus
    if gpus == 0:
        return by_cpu
    if gpus > 1:
        return min(by_cpu, int(node.gpus // gpus))
    per_gpu = int(1 / gpus + 1e-9)  # a trial's share never spans two GPUs
    return min(by_cpu, int(node.gpus) * per_gpu)


def pinned_to(remote: Any, node: Node) -> Any:  # noqa: ANN401 - Ray's remote functions have no public type
    """The remote function, bound to run on that node and on no other."""
    return remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.node_id, soft=False))


def task_result(node: Node, answer: Any, *, timeout_s: float) -> tuple[Any, str]:  # noqa: ANN401 - any task's result
    """(the result of the node's task, "") or (None, an error message that names the node)."""
    try:
        return ray.get(answer, timeout=timeout_s), ""
    except (ray.exceptions.RayError, ImportError) as error:
        return None, f"{node.name}: {str(error).strip().splitlines()[-1]}"
