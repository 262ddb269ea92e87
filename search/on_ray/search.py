"""Runs a search on Ray, new or resumed, to its end."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from search.driver.callbacks import Progress, ProgressListener
from search.driver.interrupts import Interrupts
from search.driver.nodes.fitting_recipes import kept_portfolio
from search.driver.study_dispatch import StudyDispatcher
from search.experiment.experiment import Experiment
from search.on_ray.cluster.ray_place import ray_place
from search.on_ray.cluster.warmup import sample_configs
from search.policy.other_backbones import other_backbones
from search.policy.policy import Policy, search_policy
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import check_files
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun
from search.study.study import Study

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
    """True if the user stopped it, which is no error."""


def search(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    address: str | None = None,
    progress: ProgressContext,
    policy: Policy | None = None,
) -> SearchResult:
    """Runs the study to its end, resuming it if it has begun. Raises StudyError, ClusterError, and AskedToEnd after
    SIGTERM, when trials are saved and the study is closed.

    policy: None for the experiment's own.
    """
    interrupts = Interrupts(hand_over_s=experiment.search.nodes.hand_over_seconds)
    how = f"resume with 'carsearch resume {folder.root}'"
    with Study.open(folder.root) as study:
        check_files(study, folder)
        study.retry_files(experiment.search.checkpoints.full_disk_minutes, interrupts.raise_if_due)
        study.interrupt_running()
        portfolio = kept_portfolio(study)
        configs = (*sample_configs(experiment), *(recipe.config for recipe in portfolio))
        whole = WholeRun.of(study)
        others = other_backbones(experiment) if whole is not None and whole.has_other else ()
        first = None if any(record.reports for record in study.records()) else experiment.bind(experiment.baseline)
        with (
            ray_place(
                folder, experiment, configs, address=address, interrupts=interrupts, how=how, first=first
            ) as place,
            progress as shown,
        ):
            watch = ProgressListener(experiment, study, TensorBoardWriter(folder.root), shown)
            dispatcher = StudyDispatcher(
                experiment,
                study,
                folder,
                policy=policy or search_policy(experiment, portfolio, others=others),
                worker=place.worker,
                listeners=(watch,),
                roster=place.roster,
            )
            place.executor.run(dispatcher)
            if dispatcher.finished:
                study.finish()
            else:
                study.interrupt_running()
            watch.finished()
        if interrupts.terminated and not dispatcher.finished:
            raise interrupts.reason()
        trained = any(record.reports for record in study.records())
        return SearchResult(dispatcher.finished, trained, why=dispatcher.stopping, by_user=interrupts.asked)
