"""The weights of the search's trial, which are scored in place of a training on all photos alone."""

from carcls.training.retention import trial_file
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.study.finals_beside import start_over_command
from search.study.folder import StudyFolder
from search.study.study import Study


def has_weights(folder: StudyFolder, trial: int) -> bool:
    """Whether the best weights of a trial of the search are on disk. `search.checkpoints.quota_gb` may delete them."""
    reports = Study.open(folder.root, read_only=True).record(trial).reports
    return bool(reports) and trial_file(folder.trial(trial), reports[-1].best_weights).is_file()


def check_weights(folder: StudyFolder, experiment: Experiment, trial: int | None) -> None:
    """Raises StudyError if the final training could be trained to its end, but not scored."""
    if trial is None or not experiment.is_refit_alone or has_weights(folder, trial):
        return
    raise StudyError(
        "retrain.photos: all without folds is scored by the weights of the search's trial, and those of trial"
        f" {trial:04d} are gone from {folder.trial(trial)}: '{start_over_command(folder)} --set retrain.folds=5' trains"
        " on folds, which need none"
    )
