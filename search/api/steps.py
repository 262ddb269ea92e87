"""The steps of a study, as commands and Python call them. They print nothing themselves."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from carcls.errors import DiskFullError
from search.errors import ExperimentError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store, photos_folder
from search.study.bucket.places import store_changes
from search.study.folder import StudyFolder
from search.terminal.continuing import SAME_COMMAND
from search.terminal.logs import get_logger

if TYPE_CHECKING:
    from carcls.config import TrainConfig
    from search.driver.callbacks import Progress
    from search.driver.interrupts import Interrupts
    from search.driver.nodes.place import OpenPlace, Place
    from search.on_ray.search import SearchResult
    from search.policy.policy import Policy
    from search.study.final_scores import Scores

_log = get_logger(__name__)


def search_study(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    progress: "AbstractContextManager[Progress]",
    address: str | None = None,
    policy: "Policy | None" = None,
) -> "SearchResult":
    """Runs an unfinished study to its end and writes the report.

    Raises StudyError if another process uses it, ExperimentError if photos or weights are missing, ClusterError, and
    AskedToEnd after SIGTERM, which leaves no time for a report.
    """
    if missing := experiment.missing_files():
        raise ExperimentError(missing)
    open_store(experiment.store)
    photos_folder(experiment.photos_at, experiment.store)
    from search.on_ray.search import search  # noqa: PLC0415 - Ray takes seconds to import

    end = search(folder, experiment, address=address, progress=progress, policy=policy)
    if end.trained:
        write_report_or_warn(folder, experiment)
    store_changes()
    return end


def retrain_study(
    folder: StudyFolder,
    experiment: Experiment,
    config: "TrainConfig",
    *,
    trial: int | None,
    address: str | None = None,
    say: Callable[[str], None],
    again: str = SAME_COMMAND,
) -> "Scores":
    """Runs the final training of a configuration, scores it, and writes the report. again: see `retrain`, which also
    says what is raised."""
    from search.final.retrain import retrain  # noqa: PLC0415 - only for this step
    from search.study.checked_files import check_folder  # noqa: PLC0415

    check_folder(folder)
    open_store(experiment.store)
    photos_folder(experiment.photos_at, experiment.store)
    if experiment.extra_at is not None:
        photos_folder(experiment.extra_at, experiment.store)
    place = None if address is None else _cluster(folder, experiment, config, address, again)
    scores = retrain(folder, experiment, config, trial=trial, say=say, open_place=place, again=again)
    write_report_or_warn(folder.main, experiment)
    store_changes()
    return scores


def write_report_or_warn(folder: StudyFolder, experiment: Experiment) -> None:
    """Writes the report. A failure is logged, since the search or training itself is safe.

    Raises StudyError if the study, or one of its files, cannot be read or was changed.
    """
    from search.report.page import write_study_report  # noqa: PLC0415 - matplotlib

    try:
        write_study_report(folder, experiment)
    except (OSError, ValueError) as error:  # DiskFullError and UnicodeError are of these kinds
        what = error if isinstance(error, DiskFullError) else f"{type(error).__name__}: {error}"
        _log.warning("%s: without a report; 'carsearch report %s' writes it", what, folder.root)


def _cluster(
    folder: StudyFolder, experiment: Experiment, config: "TrainConfig", address: str, again: str
) -> "OpenPlace":
    """The cluster at `address` for a final training. again: see `retrain`."""
    from search.on_ray.cluster.ray_place import ray_place  # noqa: PLC0415 - Ray takes seconds to import

    def open_place(interrupts: "Interrupts") -> "AbstractContextManager[Place]":
        how = f"{again} resumes from the last epochs"
        own = folder.retrain_study
        return ray_place(own, experiment, [config], address=address, interrupts=interrupts, how=how)

    return open_place
