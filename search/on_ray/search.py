"""A search, from wherever its study stands to its end: begun and resumed by the same code."""

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
from search.on_ray.nodes import Node, ResourcePlan, data_fingerprint, plan, probe_nodes
from search.on_ray.ray_executor import RayExecutor
from search.on_ray.warmup import checking_start, distinct_weights, some_configs
from search.on_ray.watchdog import ClusterWatch, bound_health_checks
from search.policy.policy import Policy, search_policy
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import check_files
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.console import last_words

_GAVE_UP = 2
"""Exit code, as of any other error that is told in one line."""

ProgressContext = AbstractContextManager[Progress]


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """How a run of a search ended."""

    finished: bool
    """False where it was interrupted; `carsearch resume` goes on."""
    trained: bool
    """True where there is an epoch to report on."""
    why: str | None = None
    """Why it ended before its end, as a clause; None where it finished."""
    by_user: bool = False
    """True where that was an interruption from outside: nothing is wrong."""


def search(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    address: str | None = None,
    progress: ProgressContext,
    policy: Policy | None = None,
) -> SearchEnd:
    """Runs the study to its end, from wherever it stands. Raises StudyError, ClusterError.

    policy: what decides; None: the experiment's own.
    """
    exits = _Exits(folder)
    with Study.open(folder.root) as study, guarded(exits.last_words) as guard, exits.watch(guard) as cluster:
        check_files(study, folder)
        study.retry_files(experiment.search.checkpoints.full_disk_minutes, exits.interrupts.raise_if_due)
        study.interrupt_running()
        bound_health_checks(os.environ)
        with (
            checking_start(distinct_weights(some_configs(experiment)), here=address is None) as check_start,
            connected(address) as joined,
            cluster.looking(f"the Ray cluster at {address or 'this machine'}"),
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
        return SearchEnd(dispatcher.finished, trained, why=dispatcher.stopping, by_user=exits.interrupts.asked)


class _Exits:
    """The ways out before the search's end: the user's, a signal's, a lost cluster's."""

    def __init__(self, folder: StudyFolder) -> None:
        self._how = f"go on by 'carsearch resume {folder.root}'"
        self.last_words = f"carsearch: the search was killed, or lost its Ray: {self._how}"
        self.interrupts = Interrupts()

    def watch(self, guard: Guard) -> ClusterWatch:
        """Ends the driver where its cluster is lost: by itself if it can, else by force."""

        def on_lost(why: str) -> None:
            guard.kill_on_close()
            self.interrupts.end_with(ClusterError(self._lost(why)))

        def give_up(why: str) -> None:
            last_words(f"carsearch: {self._lost(why)}")
            os._exit(_GAVE_UP)

        return ClusterWatch(on_lost=on_lost, give_up=give_up, unstick=guard.end_descendants)

    def _lost(self, why: str) -> str:
        return f"{why}; {self._how}, there or, with --address, elsewhere"


def _probe(folder: StudyFolder, experiment: Experiment, nodes: Sequence[Node]) -> list[Node]:
    fingerprint = data_fingerprint(folder.split, experiment.data.root)
    return probe_nodes(nodes, study=folder.root, data_root=experiment.data.root, data_fingerprint=fingerprint)


def _plan(experiment: Experiment, nodes: Sequence[Node]) -> ResourcePlan:
    wishes = experiment.search.resources
    return plan(
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
