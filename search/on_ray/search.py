"""Runs a search on Ray, new or resumed, to its end."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from search.driver.callbacks import Progress, ProgressListener
from search.driver.executor import Executor
from search.driver.guard import Guard, guarded
from search.driver.interrupts import Interrupts
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.errors import ClusterError
from search.experiment.experiment import Experiment
from search.on_ray.connection import connected
from search.on_ray.nodes import Node, ResourcePlan, data_fingerprint, plan_resources, probe_nodes
from search.on_ray.ray_executor import RayExecutor
from search.on_ray.warmup import distinct_weights, sample_configs, start_check
from search.on_ray.watchdog import ClusterWatch, set_health_checks
from search.policy.policy import Policy, search_policy
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import check_files
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.console import print_emergency

_EXIT_CODE_LOST = 2
"""The same as for any error reported in one line."""

ProgressContext = AbstractContextManager[Progress]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """How a run of a search ended."""

    finished: bool
    """False if it was interrupted; `carsearch resume` continues it."""
    trained: bool
    """True if there is an epoch to report."""
    why: str | None = None
    """Why it stopped early, as a clause, or None if it finished."""
    by_user: bool = False
    """True if the user or a signal stopped it, which is no error."""


def search(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    address: str | None = None,
    progress: ProgressContext,
    policy: Policy | None = None,
) -> SearchResult:
    """Runs the study to its end, resuming it if it has begun. Raises StudyError, ClusterError.

    policy: None for the experiment's own.
    """
    exits = _Exits(folder)
    with Study.open(folder.root) as study, guarded(exits.killed_message) as guard, exits.watch(guard) as cluster:
        check_files(study, folder)
        study.retry_files(experiment.search.checkpoints.full_disk_minutes, exits.interrupts.raise_if_due)
        study.interrupt_running()
        set_health_checks(os.environ)
        with (
            start_check(distinct_weights(sample_configs(experiment)), here=address is None) as check_start,
            connected(address) as joined,
            cluster.watching(f"the Ray cluster at {address or 'this machine'}"),
        ):
            nodes = joined if address is None else _probe(folder, experiment, joined)
            resources = _plan(experiment, nodes)
            check_start(nodes)
            with progress as shown:
                watch = ProgressListener(experiment, study, TensorBoardWriter(folder.root), shown)
                dispatcher = StudyDispatcher(
                    experiment,
                    study,
                    folder,
                    policy=policy or search_policy(experiment),
                    worker=_worker_settings(experiment, resources),
                    listeners=(watch,),
                )
                executor: Executor = RayExecutor(
                    folder, resources, deadline=experiment.search.deadline, interrupts=exits.interrupts
                )
                executor.run(dispatcher)
                if exits.interrupts.now:
                    guard.kill_on_close()
                if dispatcher.finished:
                    study.finish()
                else:
                    study.interrupt_running()
                watch.finished()
        trained = any(record.reports for record in study.records())
        return SearchResult(dispatcher.finished, trained, why=dispatcher.stopping, by_user=exits.interrupts.asked)


class _Exits:
    """What can end a search early: the user, a signal, or a lost cluster."""

    def __init__(self, folder: StudyFolder) -> None:
        self._how = f"resume with 'carsearch resume {folder.root}'"
        self.killed_message = f"carsearch: the search was killed, or lost its Ray: {self._how}"
        self.interrupts = Interrupts()

    def watch(self, guard: Guard) -> ClusterWatch:
        """A watch that interrupts the driver if the cluster is lost, or ends the process if that does not help."""

        def on_lost(why: str) -> None:
            guard.kill_on_close()
            self.interrupts.end_with(ClusterError(self._lost(why)))

        def give_up(why: str) -> None:
            print_emergency(f"carsearch: {self._lost(why)}")
            os._exit(_EXIT_CODE_LOST)

        return ClusterWatch(on_lost=on_lost, give_up=give_up, unstick=guard.end_descendants)

    def _lost(self, why: str) -> str:
        return f"{why}; {self._how}, there or, with --address, elsewhere"


def _probe(folder: StudyFolder, experiment: Experiment, nodes: Sequence[Node]) -> list[Node]:
    fingerprint = data_fingerprint(folder.split, experiment.data.root)
    return probe_nodes(nodes, study=folder.root, data_root=experiment.data.root, data_fingerprint=fingerprint)


def _plan(experiment: Experiment, nodes: Sequence[Node]) -> ResourcePlan:
    wishes = experiment.search.resources
    return plan_resources(
        nodes,
        gpus_per_trial=wishes.gpus_per_trial,
        cpus_per_trial=wishes.cpus_per_trial,
        max_concurrent=experiment.search.max_concurrent,
    )


def _worker_settings(experiment: Experiment, resources: ResourcePlan) -> WorkerSettings:
    return WorkerSettings(
        threads=resources.cpus,
        gpu_share=resources.gpus or None,
        store=experiment.store.model_dump(mode="json"),
        deterministic=experiment.search.deterministic,
    )
