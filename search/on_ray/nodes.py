"""Shares the nodes' resources among trials, and checks that every node can run the search."""

import contextlib
import csv
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.errors import ClusterError
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_CPU_TRIAL_MAX_CPUS = 4
"""Without GPUs, more threads than this speed up small-batch training little; two trials at once do better."""

_PROBE_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Node:
    """An alive node of the cluster."""

    node_id: str
    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class ResourcePlan:
    """The resources of each trial, and how many trials run at once."""

    cpus: int
    gpus: float
    concurrent: int


def plan_resources(
    nodes: Sequence[Node], *, gpus_per_trial: float | None, cpus_per_trial: int | None, max_concurrent: int | None
) -> ResourcePlan:
    """Divides the nodes among trials.

    By default a trial gets one GPU, if there is any, and its share of the node's cores; without GPUs, up to four cores.
    Raises ClusterError if no node has room for one trial.
    """
    has_gpus = any(node.gpus >= 1 for node in nodes)
    gpus = float(has_gpus) if gpus_per_trial is None else gpus_per_trial
    cpus = cpus_per_trial or _default_cpus(nodes, gpus)
    slots = sum(_slots(node, cpus, gpus) for node in nodes)
    if slots == 0:
        found = "; ".join(f"{node.name}: {node.cpus:g} CPUs, {node.gpus:g} GPUs" for node in nodes) or "no node"
        raise ClusterError(
            f"no node has room for one trial of {cpus} CPUs and {gpus:g} GPUs (found {found}):"
            " lower search.resources.cpus_per_trial or gpus_per_trial"
        )
    return ResourcePlan(cpus=cpus, gpus=gpus, concurrent=min(slots, max_concurrent or slots))


def _default_cpus(nodes: Sequence[Node], gpus: float) -> int:
    if gpus > 0:
        shares = [int(node.cpus * gpus / node.gpus) for node in nodes if node.gpus >= gpus]
        return max(1, min(shares, default=1))
    return max(1, min(_CPU_TRIAL_MAX_CPUS, *(int(node.cpus) for node in nodes)) if nodes else 1)


def _slots(node: Node, cpus: int, gpus: float) -> int:
    by_cpu = int(node.cpus // cpus)
    if gpus == 0:
        return by_cpu
    if gpus > 1:
        return min(by_cpu, int(node.gpus // gpus))
    per_gpu = int(1 / gpus + 1e-9)  # a trial's share never spans two GPUs
    return min(by_cpu, int(node.gpus) * per_gpu)


def probe_nodes(nodes: Sequence[Node], *, study: Path, data_root: Path, data_fingerprint: str) -> list[Node]:
    """Checks each node of a cluster before the first trial: same version, same photos, shared results folder.

    Returns the nodes that can run the search, leaving out those lost meanwhile, which a cluster notices late. Raises
    ClusterError naming every unsuitable node.
    """
    remote = ray.remote(num_cpus=0)(_probe)
    pending = []
    for node in nodes:
        marker, nonce = study / f".probe-{node.node_id}", uuid.uuid4().hex
        answer = pinned_to(remote, node).remote(str(study / "split.csv"), str(data_root), str(marker), nonce)
        pending.append((node, marker, nonce, answer))
    problems, able = [], []
    for node, marker, nonce, answer in pending:
        found, problem = task_result(node, answer, timeout_s=_PROBE_TIMEOUT_S)
        if found is None and _is_lost(node):
            _log.warning("%s was lost before the first trial: left out", node.name)
            continue
        if found is None:
            problems.append(problem)
            continue
        able.append(node)
        problems += [f"{node.name}: {wrong}" for wrong in node_problems(found, data_fingerprint=data_fingerprint)]
        if not _reads_back(marker, nonce):
            problems.append(f"{node.name}: its files in {study} do not appear here: results must be shared storage")
    for _, marker, _, _ in pending:
        marker.unlink(missing_ok=True)
    if problems:
        raise ClusterError("these nodes cannot run the search:\n  " + "\n  ".join(problems))
    return able


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


def node_problems(found: Mapping[str, str | None], *, data_fingerprint: str) -> list[str]:
    """Why a node with these probe results cannot run the search; empty if it can. Pure."""
    problems = []
    ours = version("carsearch")
    if found["version"] != ours:
        problems.append(f"has carsearch {found['version']}, the driver {ours}: install the same version")
    if found["error"]:
        problems.append(found["error"])
    elif found["fingerprint"] != data_fingerprint:
        problems.append("its photos differ from the driver's (sizes or names): data.root must hold the same files")
    return problems


def _probe(split: str, data_root: str, marker: str, nonce: str) -> dict[str, str | None]:
    """Runs on the node: returns its version and its photos' fingerprint, and writes a file for the driver to find."""
    found: dict[str, str | None] = {"version": version("carsearch"), "fingerprint": None, "error": None}
    try:
        Path(marker).write_text(nonce, encoding="utf-8")
        found["fingerprint"] = data_fingerprint(Path(split), Path(data_root))
    except OSError as error:
        found["error"] = f"{error.strerror}: {error.filename} (results and data must be at the same path on every node)"
    return found


def data_fingerprint(split: Path, data_root: Path) -> str:
    """Hash of the names and sizes of all photos of the split: cheap, and different if a node has other files."""
    digest = hashlib.blake2b(digest_size=16)
    with split.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            size = (data_root / row["path"]).stat().st_size
            digest.update(f"{row['path']}\0{size}\n".encode())
    return digest.hexdigest()
