"""What `run` would find on this machine: photos, their split, weights, hardware, and all for which it would refuse."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from carcls.augment.views import check_policy
from carcls.config import TrainConfig
from carcls.dataset.table import Dataset
from carcls.errors import CarclsError
from carcls.splits.split import Split
from carcls.system.home import home_folder
from search.driver.create import exists_already, scan_and_split, study_of
from search.errors import SearchError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store
from search.experiment.paths import WEIGHT_WORDS, policy_files
from search.on_ray.nodes import Node, ResourcePlan, plan_resources
from search.on_ray.ray_private import usable_cpus, usable_gpus
from search.on_ray.warmup import distinct_weights, sample_configs, start_check
from search.terminal.wording import count_text

_NAMED = 5
"""Classes that a line names."""


@dataclass
class Here:
    """What was found."""

    lines: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Why `run` would refuse; empty where it would begin."""


@contextmanager
def _noting(refusals: list[str]) -> Iterator[None]:
    try:
        yield
    except (CarclsError, SearchError) as error:
        refusals.append(str(error))


def look_here(experiment: Experiment) -> Here:
    """Reads every photo, loads framework and weights, and asks for cores and GPUs. Changes nothing; starts no Ray."""
    here = Here()
    missing = experiment.missing_files()
    here.refusals += [str(problem) for problem in missing]
    configs = [config for config in distinct_weights(sample_configs(experiment)) if _is_here(config)]
    with start_check(configs, here=True) as check_start:  # meanwhile photos are read
        with _noting(here.refusals):
            home_folder()
            open_store(experiment.store)
        for _, policy in policy_files(dict(experiment.tree)):
            if Path(policy).is_file():
                with _noting(here.refusals):
                    check_policy(policy)
        if (refusal := _unwritable(experiment.results)) is not None:
            here.refusals.append(refusal)
        there = None if experiment.is_fixed else study_of(experiment)
        if there is not None:
            here.refusals.append(str(exists_already(there)))
        if not any(problem.key.startswith("data.") for problem in missing):
            with _noting(here.refusals):
                here.lines += photo_lines(*scan_and_split(experiment))
        node = _this_node()
        with _noting(here.refusals):
            here.lines.append(_hardware_line(node, _planned(experiment, node)))
        with _noting(here.refusals):
            check_start([node])
            weights = f", and {count_text(len(configs), 'weights file')}" if configs else ""
            here.lines.append(f"framework{weights}: loaded")
    here.lines.append(_time_line(experiment))
    return here


def _is_here(config: TrainConfig) -> bool:
    return config.weights in WEIGHT_WORDS or Path(config.weights).is_file()


def _unwritable(results: Path) -> str | None:
    """Why no study can be made there."""
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"results: {there} is no folder in which you may write"


def photo_lines(dataset: Dataset, split: Split) -> tuple[str, ...]:
    """Counts of photos and of the split, then the classes of which none can be validated; pure."""
    total, train, validation = len(dataset.train), len(split.train), len(split.validation)
    held_out = total - train - validation
    labels = np.bincount(split.validation.labels, minlength=len(split.class_names))
    small = [name for name, count in zip(split.class_names, labels.tolist(), strict=True) if count == 0]
    named = ", ".join(small[:_NAMED]) + (f" and {len(small) - _NAMED} more" if len(small) > _NAMED else "")
    return (
        f"photos: {total:,} of {len(split.class_names)} classes,"
        f" {len(dataset.test):,} to predict, {len(dataset.quarantined):,} that cannot be used",
        f"split: {train:,} to train, {validation:,} to validate" + (f", {held_out:,} held out" if held_out else ""),
        *([f"too small to be validated: {named}"] if small else []),
    )


def _this_node() -> Node:
    return Node("", os.uname().nodename, float(usable_cpus()), float(usable_gpus()))


def _planned(experiment: Experiment, node: Node) -> ResourcePlan:
    wishes = experiment.search.resources
    return plan_resources(
        [node],
        gpus_per_trial=wishes.gpus_per_trial,
        cpus_per_trial=wishes.cpus_per_trial,
        max_concurrent=experiment.search.max_concurrent,
    )


def _hardware_line(node: Node, planned: ResourcePlan) -> str:
    gpus = f" and {planned.gpus:g} GPU" if planned.gpus else ""
    return (
        f"hardware: {node.cpus:g} CPUs, {node.gpus:g} GPUs: {count_text(planned.concurrent, 'trial')} at once,"
        f" each with {count_text(planned.cpus, 'CPU')}{gpus}"
    )


def _time_line(experiment: Experiment) -> str:
    """A bound where there is one; how fast this machine trains, only a trial can tell."""
    hours = experiment.search.budget.hours
    told = "no estimate before trials have ended: 'carsearch status' has one then"
    return f"time: about {hours:g} h at most (search.budget.hours); {told}" if hours else f"time: {told}"
