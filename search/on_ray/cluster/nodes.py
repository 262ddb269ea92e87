"""Shares the nodes' resources among trials, and checks that every node can run the search."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from carcls.errors import DataError
from search.errors import ClusterError
from search.experiment.file.paths import is_url
from search.experiment.node_store import photos_folder
from search.experiment.settings import StoreSettings
from search.terminal.logs import get_logger
from search.worker.node_check import PHOTOS, VERSION, data_fingerprint

_log = get_logger(__name__)

_CPU_TRIAL_MAX_CPUS = 4
"""Without GPUs, more threads than this speed up small-batch training little; two trials at once do better."""

_PROBE_TIMEOUT_S = 300
_COPY_TIMEOUT_S = 4 * 3600
"""Where a node first copies the photos from a URL."""
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


def probe_nodes(
    nodes: Sequence[Node], *, study: Path, photos_at: str, store: StoreSettings, requires: Mapping[str, str]
) -> tuple[list[Node], dict[Node, list[str]]]:
    """Checks each node of a cluster before the first trial: same version, same photos, shared results folder.

    Returns the nodes that can run the search, and the problems of those that cannot. Leaves out nodes lost meanwhile,
    which a cluster notices late.
    """
    remote = ray.remote(num_cpus=0)(_probe)
    timeout_s = _COPY_TIMEOUT_S if is_url(photos_at) else _PROBE_TIMEOUT_S
    pending = []
    for node in nodes:
        marker, nonce = study / f".probe-{node.node_id}", uuid.uuid4().hex
        answer = pinned_to(remote, node).remote(
            str(study / "split.csv"), photos_at, store.model_dump(mode="json"), str(marker), nonce
        )
        pending.append((node, marker, nonce, answer))
    able: list[Node] = []
    unfit: dict[Node, list[str]] = {}
    for node, marker, nonce, answer in pending:
        found, problem = task_result(node, answer, timeout_s=timeout_s)
        if found is None and _is_lost(node):
            _log.warning("%s was lost before the first trial: left out", node.name)
            continue
        if found is None:
            unfit[node] = [problem.removeprefix(f"{node.name}: ")]
            continue
        problems = node_problems(found, requires)
        if not _reads_back(marker, nonce):
            problems.append(f"its files in {study} do not appear here: results must be shared storage")
        if problems:
            unfit[node] = problems
        else:
            able.append(node)
    for _, marker, _, _ in pending:
        marker.unlink(missing_ok=True)
    return able, unfit


def problem_lines(unfit: Mapping[Node, Sequence[str]]) -> list[str]:
    """One line for each problem, with its node's name."""
    return [f"{node.name}: {problem}" for node, problems in unfit.items() for problem in problems]


def _is_lost(node: Node) -> bool:
    return any(row["NodeID"] == node.node_id and not row["Alive"] for row in ray.nodes())


def pinned_to(remote: Any, node: Node) -> Any:  # noqa: ANN401 - Ray's remote functions have no public type
    """The remote function, bound to run on that node and on no other."""
    return remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.node_id, soft=False))


def task_result(node: Node, answer: Any, *, timeout_s: float) -> tuple[Any, str]:  # noqa: ANN401 - any task's result
    """(the result of the node's task, "") or (None, an error message that names the node)."""
    try:
        return ray.get(answer, timeout=timeout_s), ""
    except (ray.exceptions.RayError, ImportError) as error:
        return None, f"{node.name}: {str(error).strip().splitlines()[-1]}"


def _reads_back(marker: Path, nonce: str) -> bool:
    with contextlib.suppress(OSError):
        return marker.read_text(encoding="utf-8") == nonce
    return False


def node_problems(found: Mapping[str, str | None], requires: Mapping[str, str]) -> list[str]:
    """Why a node with these probe results cannot run the search; empty if it can. Pure."""
    problems = []
    if found["version"] != requires[VERSION]:
        problems.append(f"has carsearch {found['version']}, the driver {requires[VERSION]}: install the same version")
    if found["error"]:
        problems.append(found["error"])
    elif found["fingerprint"] != requires[PHOTOS]:
        problems.append("its photos differ from the driver's (sizes or names): data.root must hold the same files")
    return problems


def _probe(split: str, photos_at: str, store: dict[str, Any], marker: str, nonce: str) -> dict[str, str | None]:
    """Runs on the node: returns its version and its photos' fingerprint, and writes a file for the driver to find."""
    found: dict[str, str | None] = {"version": version("carsearch"), "fingerprint": None, "error": None}
    try:
        Path(marker).write_text(nonce, encoding="utf-8")
        photos = photos_folder(photos_at, StoreSettings.model_validate(store))
        found["fingerprint"] = data_fingerprint(Path(split), photos)
    except DataError as error:
        found["error"] = str(error)
    except OSError as error:
        found["error"] = f"{error.strerror}: {error.filename} (results and data must be at the same path on every node)"
    return found
