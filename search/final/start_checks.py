"""What can refuse a final training, checked while nothing has been deleted for it."""

from carcls.splits.k_folds import make_folds
from carcls.splits.split_files import read_split
from search.experiment.experiment import Experiment
from search.final.final_study import compares_extra, wants_pseudo
from search.final.trial_weights import check_weights
from search.study.checked_files import check_folder
from search.study.folder import StudyFolder


def check_start(folder: StudyFolder, experiment: Experiment, trial: int | None) -> None:
    """Raises what a final training from scratch would raise before it trains. Changes nothing.

    StudyError if the study's files are damaged, or lack extra or unlabelled photos or weights; DataError for too few
    photos.
    """
    check_folder(folder)
    compares_extra(folder, experiment)
    wants_pseudo(folder, experiment)
    check_weights(folder, experiment, trial)
    if experiment.folds > 1:
        split = read_split(folder.split, experiment.data.root)
        make_folds(split, count=experiment.folds, seed=experiment.data.validation.seed)
