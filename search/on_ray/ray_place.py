"""Ray as the place of a run: connects, probes the nodes, and gives each segment its resources."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from carcls.config import TrainConfig
from search.driver.guard import Guard, guarded
from search.driver.interrupts import Interrupts
from search.driver.place import Place
from search.driver.study_dispatch import WorkerSettings
from search.errors import ClusterError
from search.experiment.experiment import Experiment
from search.on_ray.connection import connected
from search.on_ray.nodes import Node, ResourcePlan, data_fingerprint, plan_resources, probe_nodes
from search.on_ray.ray_executor import RayExecutor
from search.on_ray.warmup import distinct_weights, start_check
from search.on_ray.watchdog import ClusterWatch, set_health_checks
from search.study.folder import StudyFolder
from search.terminal.console import print_emergency

_EXIT_CODE_LOST = 2
"""The same as for any error reported in one line."""


@contextmanager
def ray_place(
    folder: StudyFolder,
    experiment: Experiment,
    configs: Sequence[TrainConfig],
    *,
    address: str | None,
    interrupts: Interrupts,
    how: str,
) -> Iterator[Place]:
    """Ray for one run of the study in `folder`: started on this machine, or the cluster at `address`.

    configs: every backbone and weights file that the run may train. how: how the user continues after an early end,
    such as "resume with 'carsearch resume results/cars'". Raises ClusterError if Ray cannot be used; a lost cluster
    ends the run through `interrupts`, or this process if that does not help.
    """
    killed = f"carsearch: the run was killed, or lost its Ray: {how}"
    set_health_checks(os.environ)
    with (
        guarded(killed) as guard,
        _watch(guard, interrupts, how) as cluster,
        start_check(distinct_weights(configs), here=address is None) as check_start,
        connected(address) as joined,
        cluster.watching(f"the Ray cluster at {address or 'this machine'}"),
    ):
        nodes = joined if address is None else _probe(folder, experiment, joined)
        resources = plan(experiment, nodes)
        check_start(nodes)
        deadline = experiment.search.deadline
        executor = RayExecutor(folder, resources, deadline=deadline, interrupts=interrupts, how=how)
        yield Place(executor, worker_settings(experiment, resources))
        if interrupts.now:
            guard.kill_on_close()


def plan(experiment: Experiment, nodes: Sequence[Node]) -> ResourcePlan:
    """The resources of each segment on these nodes."""
    wishes = experiment.search.resources
    return plan_resources(
        nodes,
        gpus_per_trial=wishes.gpus_per_trial,
        cpus_per_trial=wishes.cpus_per_trial,
        max_concurrent=experiment.search.max_concurrent,
    )


def worker_settings(experiment: Experiment, resources: ResourcePlan) -> WorkerSettings:
    """What each worker knows of them."""
    return WorkerSettings(
        threads=resources.cpus,
        gpu_share=resources.gpus or None,
        store=experiment.store.model_dump(mode="json"),
        deterministic=experiment.search.deterministic,
    )


def _watch(guard: Guard, interrupts: Interrupts, how: str) -> ClusterWatch:
    """A watch that interrupts the driver if the cluster is lost, or ends the process if that does not help."""

    def lost(why: str) -> str:
        return f"{why}; {how}, there or, with --address, elsewhere"

    def on_lost(why: str) -> None:
        guard.kill_on_close()
        interrupts.end_with(ClusterError(lost(why)))

    def give_up(why: str) -> None:
        print_emergency(f"carsearch: {lost(why)}")
        os._exit(_EXIT_CODE_LOST)

    return ClusterWatch(on_lost=on_lost, give_up=give_up, unstick=guard.end_descendants)


def _probe(folder: StudyFolder, experiment: Experiment, nodes: Sequence[Node]) -> list[Node]:
    fingerprint = data_fingerprint(folder.split, experiment.data.root)
    return probe_nodes(nodes, study=folder.root, data_root=experiment.data.root, data_fingerprint=fingerprint)
