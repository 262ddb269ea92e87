"""Checks what `run` would find on this machine: photos, their split, weights, hardware, and reasons to refuse."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from carcls.augment.views import check_policy
from carcls.catalog import PRESETS
from carcls.config import TrainConfig
from carcls.dataset.table import Dataset
from carcls.errors import CarclsError
from carcls.splits.extra import photos_to_label
from carcls.splits.split import Split
from carcls.system.home import home_folder
from search.bench.estimate import Photos
from search.bench.results import kept_bench
from search.cli.commands.data_findings import extra_line
from search.cli.commands.time_estimate import estimate_lines
from search.driver.create import scan_and_split, scan_extra, study_of
from search.driver.study_draft import exists_already
from search.errors import SearchError
from search.experiment.experiment import Experiment
from search.experiment.file.paths import WEIGHT_WORDS
from search.experiment.node_store import open_store
from search.experiment.policy_use import policies_in_use
from search.on_ray.cluster.nodes import Node, ResourcePlan, plan_resources
from search.on_ray.cluster.warmup import distinct_weights, sample_configs, start_check
from search.on_ray.ray_private import usable_cpus, usable_gpus
from search.terminal.formatting import count_text

_NAMED = 5
"""Classes that a line names."""


@dataclass
class MachineReport:
    """What the check found."""

    lines: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Why `run` would refuse; empty if it would start."""


@contextmanager
def _noting(refusals: list[str]) -> Iterator[None]:
    try:
        yield
    except (CarclsError, SearchError) as error:
        refusals.append(str(error))


def check_machine(experiment: Experiment, *, price_per_hour: float | None = None) -> MachineReport:
    """Reads every photo, loads framework and weights, and counts cores and GPUs. Changes nothing; starts no Ray.

    price_per_hour: of this machine, for the estimated cost.
    """
    report = MachineReport()
    photos: Photos | None = None
    planned: ResourcePlan | None = None
    missing = experiment.missing_files()
    report.refusals += [str(problem) for problem in missing]
    configs = [config for config in distinct_weights(sample_configs(experiment)) if _is_here(config)]
    with start_check(configs, here=True) as check_start:  # meanwhile photos are read
        with _noting(report.refusals):
            home_folder()
            open_store(experiment.store)
        for policy, rectangles in policies_in_use(experiment):
            if Path(policy).is_file():
                with _noting(report.refusals):
                    check_policy(policy, rectangles=rectangles)
        if (refusal := _unwritable(experiment.results)) is not None:
            report.refusals.append(refusal)
        there = None if experiment.is_fixed else study_of(experiment)
        if there is not None:
            report.refusals.append(str(exists_already(there)))
        if not any(problem.key.startswith("data.") for problem in missing):
            with _noting(report.refusals):
                dataset, split = scan_and_split(experiment)
                report.lines += photo_lines(dataset, split)
                extra, left_out = scan_extra(experiment, dataset)
                if extra is not None:
                    report.lines.append(extra_line(extra, left_out))
                if experiment.data.pseudo is not None:
                    may_be_labelled = len(photos_to_label(dataset).photos)
                    report.lines.append(f"pseudo-labels: {may_be_labelled:,} photos to predict may get one")
                photos = Photos(len(split.train), len(split.validation), len(split.holdout or ()))
        node = _this_node()
        with _noting(report.refusals):
            planned = _planned(experiment, node)
            report.lines.append(_hardware_line(node, planned))
        with _noting(report.refusals):
            check_start([node])
            weights = f", and {count_text(len(configs), 'weights file')}" if configs else ""
            report.lines.append(f"framework{weights}: loaded")
    bench = kept_bench()
    if bench is None or photos is None or planned is None:
        report.lines.append(_time_line(experiment))
    else:
        report.lines += estimate_lines(experiment, photos, planned, bench, price_per_hour=price_per_hour)
    return report


def _is_here(config: TrainConfig) -> bool:
    return config.weights in (*WEIGHT_WORDS, *PRESETS) or Path(config.weights).is_file()


def _unwritable(results: Path) -> str | None:
    """Why no study can be created there, or None."""
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"results: {there} is not a writable folder"


def photo_lines(dataset: Dataset, split: Split) -> tuple[str, ...]:
    """Counts of photos and of the split, then the classes without validation photos. Pure."""
    total, train, validation = len(dataset.train), len(split.train), len(split.validation)
    held_out = 0 if split.holdout is None else len(split.holdout)
    unused = total - train - validation - held_out
    labels = np.bincount(split.validation.labels, minlength=len(split.class_names))
    small = [name for name, count in zip(split.class_names, labels.tolist(), strict=True) if count == 0]
    named = ", ".join(small[:_NAMED]) + (f" and {len(small) - _NAMED} more" if len(small) > _NAMED else "")
    return (
        f"photos: {total:,} of {len(split.class_names)} classes,"
        f" {len(dataset.test):,} to predict, {len(dataset.quarantined):,} that cannot be used",
        f"split: {train:,} to train, {validation:,} to validate"
        + (f", {held_out:,} held out" if held_out else "")
        + (f", {unused:,} of your holdout in no part" if unused else ""),
        *([f"too small to validate: {named}"] if small else []),
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
    """The limit, if there is one. Nothing shows yet how fast this machine trains."""
    hours = experiment.search.budget.hours
    estimate = "run 'carsearch bench' once for an estimate here; 'carsearch status' has one once trials have ended"
    return f"time: about {hours:g} h at most (search.budget.hours); {estimate}" if hours else f"time: {estimate}"
