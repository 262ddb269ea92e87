"""Before the first trial, on every node: each backbone's weights are there, whole, and of that backbone.

A download happens here, once per node; a wrong file ends the search before it has cost anything.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, cast

import ray

from carcls.config import TrainConfig
from search.cluster.resources import Node, answer_of, on_node
from search.cluster.weights_check import weights_problems
from search.errors import ClusterError

_TIMEOUT_S = 3600
"""Of one node's answer: it may download half a gigabyte of weights first."""
_HIDDEN_GPUS = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "NO_ALBUMENTATIONS_UPDATE": "1"}

Check = Callable[[Sequence[Node]], None]
"""Returns once the weights are known to be right on those nodes. Raises ClusterError with every problem, by node."""


def distinct_weights(configs: Iterable[TrainConfig]) -> tuple[TrainConfig, ...]:
    """One configuration for each backbone, width and weights among `configs`, in order of appearance. Pure.

    Without those that begin with random weights: they need no file.
    """
    by_weights: dict[tuple[str, float, str], TrainConfig] = {}
    for config in configs:
        if config.weights != "none":
            by_weights.setdefault((config.backbone, config.alpha, config.weights), config)
    return tuple(by_weights.values())


@contextlib.contextmanager
def checking_weights(configs: Sequence[TrainConfig], *, here: bool) -> Iterator[Check]:
    """Each configuration's weights are loaded once on each node; what is given waits for that.

    here: on this machine alone, which begins at once, while Ray starts.
    """
    plain = [config.model_dump(mode="json") for config in configs]
    if not plain:  # a process with TensorFlow takes seconds to start
        yield lambda _: None
    elif not here:
        yield lambda nodes: _raise_for(_problems_on(nodes, plain))
    else:
        with _begin(plain) as process:
            try:
                yield lambda nodes: _raise_for(_problems_here(process, nodes[0]))
            finally:
                process.kill()


def _raise_for(problems: Sequence[str]) -> None:
    if problems:
        raise ClusterError("the backbones' weights cannot be used:\n  " + "\n  ".join(problems))


def _problems_on(nodes: Sequence[Node], configs: list[dict[str, Any]]) -> list[str]:
    """By tasks in processes of their own. A GPU-less task sees no GPU, and holds none."""
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(weights_problems)
    pending = [(node, on_node(remote, node).remote(configs)) for node in nodes]
    problems = []
    for node, answer in pending:
        found, problem = answer_of(node, answer, timeout_s=_TIMEOUT_S)
        problems += [problem] if found is None else [f"{node.name}: {wrong}" for wrong in found]
    return problems


def _begin(configs: list[dict[str, Any]]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "search.cluster.weights_check"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | _HIDDEN_GPUS,
        start_new_session=True,  # a terminal's Ctrl-C is for the driver alone
    )
    with contextlib.suppress(BrokenPipeError):  # that it has died is told of where it is asked
        line = cast("IO[str]", process.stdin)
        line.write(f"{json.dumps(configs)}\n")
        line.flush()
    return process


def _problems_here(process: "subprocess.Popen[str]", node: Node) -> list[str]:
    try:
        answer, errors = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [f"{node.name}: no answer within {_TIMEOUT_S} s"]
    if process.returncode:
        lines = errors.strip().splitlines() or ["no word"]
        return [f"{node.name}: the check ended by exit status {process.returncode}: {lines[-1]}"]
    return [f"{node.name}: {wrong}" for wrong in json.loads(answer)]
