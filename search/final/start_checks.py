"""What can refuse a final training, checked while nothing has been deleted for it."""

from carcls.catalog import POLICY_FILE_SUFFIXES
from carcls.config import TrainConfig
from carcls.splits.k_folds import make_folds
from carcls.splits.split_files import read_split
from search.errors import ExperimentError, Problem
from search.experiment.experiment import Experiment
from search.experiment.file.paths import missing_files
from search.experiment.file.problems import dotted
from search.experiment.node_store import open_store, photos_folder
from search.final.final_study import compares_extra, wants_pseudo
from search.final.trial_weights import check_weights
from search.study.checked_files import check_folder
from search.study.folder import StudyFolder


def check_start(folder: StudyFolder, experiment: Experiment, config: TrainConfig, trial: int | None) -> None:
    """Raises what a final training from scratch would raise before it trains. Deletes nothing; photos at a URL are
    copied if they are not here.

    StudyError if the study's files are damaged, or lack extra or unlabelled photos or weights; ExperimentError for
    photos, weights or policies that are not here; ConfigError for a policy that cannot be used; DataError for too few
    photos or a URL that cannot be read; HomeError without a folder for the store.
    """
    check_folder(folder)
    compares_extra(folder, experiment)
    wants_pseudo(folder, experiment)
    check_weights(folder, experiment, trial)
    _check_files(experiment, config)
    check_own_policy(config)
    open_store(experiment.store)
    photos_folder(experiment.photos_at, experiment.store)
    if experiment.extra_at is not None:
        photos_folder(experiment.extra_at, experiment.store)
    if experiment.folds > 1:
        split = read_split(folder.split, experiment.data.root)
        make_folds(split, count=experiment.folds, seed=experiment.data.validation.seed)


def check_own_policy(config: TrainConfig) -> None:
    """Raises ConfigError for a policy file that cannot be used for the photos of this configuration."""
    if config.augment.policy.endswith(POLICY_FILE_SUFFIXES):
        from carcls.augment.views import check_policy  # noqa: PLC0415 - loads albumentations, for files only

        check_policy(config.augment.policy, rectangles=not config.is_square)


def _check_files(experiment: Experiment, config: TrainConfig) -> None:
    """Raises ExperimentError without the labelled photos, or the files of this configuration alone."""
    data = experiment.tree["data"]
    tree = {"data": {key: data.get(key) for key in ("root", "extra")}, "train": config.model_dump(mode="json")}
    where = str(experiment.path)
    missing = [Problem(where, dotted(tree, place), message) for place, message in missing_files(tree)]
    if missing:
        raise ExperimentError(tuple(missing))
