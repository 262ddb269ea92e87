"""Checks on every node, before the first trial, that the framework loads and each backbone's weights are usable.

Downloads happen here, once per node. A problem ends the search before it has cost anything.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, cast

import numpy as np
import ray

from carcls.config import TrainConfig
from carcls.system.module_path import without_current_folder
from search.errors import ClusterError
from search.experiment.experiment import Experiment
from search.on_ray.cluster.nodes import Node, pinned_to, task_result
from search.worker.weights_check import StartProblems, start_problems

_TIMEOUT_S = 3600
"""For one node's answer, which may download half a gigabyte of weights."""
_WEIGHTS_SAMPLES = 256
"""These miss one of twenty equally likely backbones with a probability of 2e-6; its first trial would then check it."""
_HIDDEN_GPUS = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "NO_ALBUMENTATIONS_UPDATE": "1"}

Check = Callable[[Sequence[Node]], dict[Node, list[str]]]
"""Waits until the weights were tried on those nodes. Returns the problems of each node that cannot use them. Raises
ClusterError with every problem, by node, if no node can."""


def sample_configs(experiment: Experiment) -> Iterator[TrainConfig]:
    """The baseline, and enough samples of the space to contain every combination of backbone and weights."""
    yield experiment.bind(experiment.baseline)
    rng = np.random.default_rng(0)
    for _ in range(_WEIGHTS_SAMPLES):
        yield experiment.bind(experiment.space.sample(rng))


def distinct_weights(configs: Iterable[TrainConfig]) -> tuple[TrainConfig, ...]:
    """One configuration for each backbone, width and weights file among `configs`, in order of appearance. Pure."""
    by_weights: dict[tuple[str, float, str], TrainConfig] = {}
    for config in configs:
        if config.weights != "none":
            by_weights.setdefault((config.backbone, config.alpha, config.weights), config)
    return tuple(by_weights.values())


@contextlib.contextmanager
def start_check(configs: Sequence[TrainConfig], *, here: bool) -> Iterator[Check]:
    """Loads the framework and each configuration's weights once on each node; yields a function that waits for that.

    here: only on this machine, starting at once, while Ray starts.
    """
    plain = [config.model_dump(mode="json") for config in configs]
    if not here:
        yield lambda nodes: _unfit(_found_on(nodes, plain))
        return
    with _begin(plain) as process:
        try:
            yield lambda nodes: _unfit([_found_here(process, nodes[0])])
        finally:
            process.kill()


def _unfit(answers: Sequence[tuple[Node, StartProblems]]) -> dict[Node, list[str]]:
    unfit = {
        node: [found.framework] if found.framework else list(found.weights)
        for node, found in answers
        if found.framework or found.weights
    }
    if len(unfit) == len(answers):
        _raise_for(answers)
    return unfit


def _raise_for(answers: Sequence[tuple[Node, StartProblems]]) -> None:
    if broken := [f"{node.name}: {found.framework}" for node, found in answers if found.framework]:
        raise ClusterError("\n".join(broken))
    if problems := [f"{node.name}: {wrong}" for node, found in answers for wrong in found.weights]:
        raise ClusterError("the backbones' weights cannot be used:\n  " + "\n  ".join(problems))


def _found_on(nodes: Sequence[Node], configs: list[dict[str, Any]]) -> list[tuple[Node, StartProblems]]:
    """Runs one task per node, each in its own process. A task without GPUs sees none and occupies none."""
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(start_problems)
    pending = [(node, pinned_to(remote, node).remote(configs)) for node in nodes]
    answers = []
    for node, answer in pending:
        found, problem = task_result(node, answer, timeout_s=_TIMEOUT_S)
        told = problem.removeprefix(f"{node.name}: ")
        answers.append((node, StartProblems(framework=told) if found is None else StartProblems(**found)))
    return answers


def _begin(configs: list[dict[str, Any]]) -> "subprocess.Popen[str]":
    with without_current_folder():
        process = subprocess.Popen(
            [sys.executable, "-m", "search.worker.weights_check"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | _HIDDEN_GPUS,
            start_new_session=True,  # a terminal's Ctrl-C is meant only for the driver
        )
    with contextlib.suppress(BrokenPipeError):  # if it died, `_found_here` reports that
        line = cast("IO[str]", process.stdin)
        line.write(f"{json.dumps(configs)}\n")
        line.flush()
    return process


def _found_here(process: "subprocess.Popen[str]", node: Node) -> tuple[Node, StartProblems]:
    try:
        answer, errors = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return node, StartProblems(framework=f"loading framework and weights gave no answer within {_TIMEOUT_S} s")
    if process.returncode:
        lines = errors.strip().splitlines() or ["no error message"]
        how = _how_it_ended(process.returncode)
        return node, StartProblems(framework=f"loading framework and weights {how}: {lines[-1]}")
    return node, StartProblems(**json.loads(answer))


def _how_it_ended(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended by exit status {status}"
