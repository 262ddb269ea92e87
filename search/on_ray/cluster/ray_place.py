"""Ray as the place of a run: connects, probes the nodes, and gives each segment its resources."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from carcls.config import TrainConfig
from search.driver.guard import Guard, guarded
from search.driver.interrupts import Interrupts
from search.driver.nodes.node_roster import NodeRoster
from search.driver.nodes.place import Place
from search.driver.study_dispatch import WorkerSettings
from search.errors import ClusterError
from search.experiment.experiment import Experiment
from search.on_ray.cluster.live_cluster import LiveCluster
from search.on_ray.cluster.node_memory import NodeMemory
from search.on_ray.cluster.nodes import Node, ResourcePlan, plan_resources
from search.on_ray.cluster.places import ClusterPlaces
from search.on_ray.cluster.prebuild import prebuild
from search.on_ray.cluster.probe import probe_nodes, problem_lines
from search.on_ray.cluster.room import await_room
from search.on_ray.cluster.warmup import Check, distinct_weights, start_check
from search.on_ray.connection import connected
from search.on_ray.driver_line import LEAST_SILENT_S
from search.on_ray.ray_executor import RayExecutor
from search.on_ray.ray_log import rays_lines_in
from search.on_ray.watchdog import ClusterWatch, keep_trying, set_health_checks
from search.study.bucket.places import url_for_workers
from search.study.folder import StudyFolder
from search.terminal.console import print_emergency
from search.worker.node_check import requirements

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
    first: TrainConfig | None = None,
) -> Iterator[Place]:
    """Ray for one run of the study in `folder`: started on this machine, or the cluster at `address`.

    configs: every backbone and weights file that the run may train. first: whose photos are decoded before the first
    trial gets a GPU, or None for none. how: how the user continues after an early end,
    such as "resume with 'carsearch resume results/cars'". Raises ClusterError if Ray cannot be used; a lost cluster
    ends the run through `interrupts`, or this process if that does not help.
    """
    killed = f"carsearch: the run was killed, or lost its Ray: {how}"
    settings = experiment.search.nodes
    set_health_checks(os.environ)
    keep_trying(os.environ, settings.lost_after_seconds)
    roster = NodeRoster(settings.exclude_after)
    cluster = LiveCluster(roster)
    with (
        guarded(killed) as guard,
        _watch(guard, interrupts, how, cluster, settings.lost_after_seconds) as watch,
        start_check(distinct_weights(configs), here=address is None) as check_start,
        connected(address) as joined,
        rays_lines_in(folder.root / "ray.log"),
        watch.watching(f"the Ray cluster at {address or 'this machine'}"),
    ):
        if address is None:
            check_start(joined)
            place, nodes = _this_machine(folder, experiment, joined, interrupts=interrupts, how=how)
        else:
            place, nodes = _on_cluster(folder, experiment, check_start, cluster, roster, interrupts=interrupts, how=how)
        if first is not None and place.worker.gpu_share:
            study = place.worker.study_url or str(folder.root)
            prebuild(nodes, study, experiment, first, raise_if_due=interrupts.raise_if_due)
        yield place
        if interrupts.now:
            guard.kill_on_close()


def _this_machine(
    folder: StudyFolder, experiment: Experiment, nodes: Sequence[Node], *, interrupts: Interrupts, how: str
) -> tuple[Place, Sequence[Node]]:
    resources = plan(experiment, nodes)
    deadline = experiment.search.deadline
    executor = RayExecutor(folder, resources, deadline=deadline, interrupts=interrupts, how=how)
    return Place(executor, worker_settings(experiment, resources)), nodes


def _on_cluster(
    folder: StudyFolder,
    experiment: Experiment,
    check_start: Check,
    cluster: LiveCluster,
    roster: NodeRoster,
    *,
    interrupts: Interrupts,
    how: str,
) -> tuple[Place, Sequence[Node]]:
    """Waits for room and leaves out nodes that cannot run the search. Raises ClusterError if none can."""
    await_room(cluster, experiment.search, raise_if_due=interrupts.raise_if_due)
    cluster.take_over()
    requires = requirements(folder.split, experiment.data.root)
    study_url = url_for_workers(folder.root)
    able, unfit = probe_nodes(
        cluster.nodes,
        study=study_url or str(folder.root),
        photos_at=experiment.photos_at,
        store=experiment.store,
        requires=requires,
    )
    if not able:
        raise ClusterError("these nodes cannot run the search:\n  " + "\n  ".join(problem_lines(unfit)))
    for node, problems in (unfit | check_start(able)).items():
        roster.condemn(node.node_id, node.name, "; ".join(problems))
    excluded = roster.excluded_ids()
    used = [node for node in able if node.node_id not in excluded]
    resources = plan(experiment, used)
    max_concurrent = experiment.search.max_concurrent
    if max_concurrent is not None:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max_concurrent)  # else Tune asks for one node at a time
    executor = RayExecutor(
        folder,
        resources,
        deadline=experiment.search.deadline,
        interrupts=interrupts,
        how=how,
        concurrent=lambda: cluster.concurrent(resources, max_concurrent),
        places=ClusterPlaces(cluster, roster, NodeMemory(resources)),
        silent_s=max(LEAST_SILENT_S, experiment.search.nodes.lost_after_seconds),
    )
    worker = replace(worker_settings(experiment, resources), requires=requires, study_url=study_url)
    return Place(executor, worker, roster), used


def plan(experiment: Experiment, nodes: Sequence[Node]) -> ResourcePlan:
    """The resources of each segment on these nodes."""
    wishes = experiment.search.resources
    return plan_resources(
        nodes,
        gpus_per_trial=wishes.gpus_per_trial,
        cpus_per_trial=wishes.cpus_per_trial,
        max_concurrent=experiment.search.max_concurrent,
        accelerator=wishes.accelerator,
    )


def worker_settings(experiment: Experiment, resources: ResourcePlan) -> WorkerSettings:
    """What each worker knows of them."""
    return WorkerSettings(
        threads=resources.cpus,
        gpu_share=resources.gpus or None,
        store=experiment.store.model_dump(mode="json"),
        deterministic=experiment.search.deterministic,
    )


def _watch(guard: Guard, interrupts: Interrupts, how: str, cluster: LiveCluster, lost_after_s: float) -> ClusterWatch:
    """A watch that interrupts the driver if the cluster is lost, or ends the process if that does not help."""

    def lost(why: str) -> str:
        return f"{why}; {how}, there or, with --address, elsewhere"

    def on_lost(why: str) -> None:
        guard.kill_on_close()
        interrupts.end_with(ClusterError(lost(why)))

    def give_up(why: str) -> None:
        print_emergency(f"carsearch: {lost(why)}")
        os._exit(_EXIT_CODE_LOST)

    return ClusterWatch(
        on_lost=on_lost,
        give_up=give_up,
        unstick=guard.end_descendants,
        on_nodes=cluster.look,
        lost_after_s=lost_after_s,
    )
