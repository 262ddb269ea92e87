"""How many photos the steps of `carsearch run --hours` take, which its plan goes by."""

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.study.folder import StudyFolder
    from search.study.run_hours import WholeRun


def with_photos(whole: "WholeRun", folder: "StudyFolder", experiment: "Experiment") -> "WholeRun":
    """The run with what its study trains and validates on now."""
    from carcls.splits.extra import parse_extra
    from carcls.splits.split_files import read_split

    root, path = experiment.data.root, folder.unlabelled
    split = read_split(folder.split, root)
    is_pseudo = experiment.data.pseudo is not None and path.exists()
    unlabelled = len(parse_extra(path.read_bytes(), path, root).photos) if is_pseudo else 0
    return replace(
        whole,
        train_share=len(split.train) / split.labelled,
        pseudo_share=unlabelled / split.labelled,
        validation_photos=len(split.validation),
    )


def with_predictions(whole: "WholeRun", experiment: "Experiment", *, is_here: bool) -> "WholeRun":
    """The run with what it predicts for the submission. is_here: whether trials run on this machine, not a cluster."""
    from carcls.inference.tta import PLAIN
    from search.worker.machine_memory import gpu_count

    there = _to_predict(experiment)
    share = 1.0 if gpu_count() else 1.0 / whole.at_once
    return replace(
        whole,
        to_predict=whole.to_predict if there is None else there,
        views=len({PLAIN, *experiment.tta.views}),
        core_share=share if is_here else None,
    )


def _to_predict(experiment: "Experiment") -> int | None:
    """Number of photos to predict; None if their folder is not there, or cannot be used, which `submit` reports."""
    from carcls.dataset.unlabelled import count_unlabelled
    from carcls.errors import DataError

    root = experiment.data.root
    try:
        return count_unlabelled(root, experiment.data.layout) if root.is_dir() else None
    except (OSError, DataError):
        return None
