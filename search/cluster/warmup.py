"""Before the first trial, on every node: each backbone's weights are there, whole, and of that backbone.

A download happens here, once per node; a wrong file ends the search before it has cost anything.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import ray

from carcls.config import TrainConfig
from carcls.errors import WeightsError
from search.cluster.resources import Node, answer_of, on_node
from search.errors import ClusterError

_TIMEOUT_S = 3600
"""Of one node's answer: it may download half a gigabyte of weights first."""


def distinct_weights(configs: Iterable[TrainConfig]) -> tuple[TrainConfig, ...]:
    """One configuration for each backbone, width and weights among `configs`, in order of appearance. Pure.

    Without those that begin with random weights: they need no file.
    """
    by_weights: dict[tuple[str, float, str], TrainConfig] = {}
    for config in configs:
        if config.weights != "none":
            by_weights.setdefault((config.backbone, config.alpha, config.weights), config)
    return tuple(by_weights.values())


def warm_up(nodes: Sequence[Node], configs: Sequence[TrainConfig]) -> None:
    """Loads each configuration's weights once on each node. Raises ClusterError with every problem, by node."""
    if not configs:
        return  # a process with TensorFlow takes seconds to start
    # A task of its own process: the driver stays without TensorFlow. A GPU-less task sees no GPU, and holds none.
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(_weights_problems)
    plain = [config.model_dump(mode="json") for config in configs]
    pending = [(node, on_node(remote, node).remote(plain)) for node in nodes]
    problems = []
    for node, answer in pending:
        found, problem = answer_of(node, answer, timeout_s=_TIMEOUT_S)
        problems += [problem] if found is None else [f"{node.name}: {wrong}" for wrong in found]
    if problems:
        raise ClusterError("the backbones' weights cannot be used:\n  " + "\n  ".join(problems))


def _weights_problems(configs: list[dict[str, Any]]) -> list[str]:
    """Runs on the node: what is wrong with each configuration's weights."""
    from carcls.models.classifier import check_weights  # noqa: PLC0415 - keras, for the task's process alone

    problems = []
    for values in configs:
        try:
            check_weights(TrainConfig.model_validate(values))
        except WeightsError as error:
            problems.append(str(error))
    return problems
