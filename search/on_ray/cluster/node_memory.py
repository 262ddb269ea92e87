"""Asks the nodes of a cluster how much memory a trial has there, without waiting for their answers."""

from collections.abc import Iterable, Iterator
from typing import Any

import ray

from search.on_ray.cluster.nodes import Node, ResourcePlan, pinned_to, slots
from search.worker.machine_memory import memory_device


def _device(gpu_share: float | None) -> str:
    """Runs on the node."""
    return memory_device(gpu_share)


class NodeMemory:
    """Sends one small task to each node that has room for a trial. Not thread-safe: the driver's thread."""

    def __init__(self, plan: ResourcePlan) -> None:
        self._plan = plan
        self._asked: set[str] = set()
        self._pending: dict[Any, str] = {}
        """Node of each task without an answer."""

    def ask(self, nodes: Iterable[Node]) -> None:
        """Asks those that were not asked before."""
        for node in nodes:
            if node.node_id not in self._asked and slots(node, self._plan):
                self._asked.add(node.node_id)
                task = pinned_to(ray.remote(num_cpus=0)(_device), node)
                self._pending[task.remote(self._plan.gpus or None)] = node.node_id

    def answers(self) -> Iterator[tuple[str, str]]:
        """(node, name of its device) of each answer that has come. A node that was lost gives none."""
        if not self._pending:
            return
        for ready in ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)[0]:
            node_id = self._pending.pop(ready)
            try:
                yield node_id, ray.get(ready)
            except ray.exceptions.RayError:
                continue
