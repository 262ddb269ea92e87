"""Final trainings of other trials than the study's own one, with which `carsearch ensemble` averages them."""

import re
from contextlib import suppress

from search.errors import StudyError
from search.study.final_members import fold_count
from search.study.folder import StudyFolder
from search.study.study import Study

_NAME = re.compile(r"retrain-(\d{4,})")


def finals_beside(folder: StudyFolder) -> tuple[StudyFolder, ...]:
    """The study's folder with each of them, finished or not, by number of the trial."""
    numbers = [
        int(match[1])
        for path in folder.root.glob("retrain-*")
        if path.is_dir() and (match := _NAME.fullmatch(path.name)) is not None
    ]
    return tuple(folder.beside(number) for number in sorted(numbers))


def trial_beside(folder: StudyFolder) -> int | None:
    """Number of the trial that the folder's final training repeats beside the study's own; None if it is that one."""
    match = _NAME.fullmatch(folder.final)
    return None if match is None else int(match[1])


def start_over_command(folder: StudyFolder) -> str:
    """The command that deletes the folder's final training, and no trial of its search, and trains it again."""
    return f"{_command(folder)} --replace"


def score_again_command(folder: StudyFolder) -> str:
    """The command that scores the folder's trained models again, with the folds that it has."""
    folds = 0
    with suppress(StudyError):
        folds = fold_count(Study.open(folder.retrain, read_only=True))
    return _command(folder) + (f" --set retrain.folds={folds}" if folds else "")


def _command(folder: StudyFolder) -> str:
    if not folder.log.exists():  # a fixed recipe
        return "carsearch train FILE"
    trial = trial_beside(folder)
    return f"carsearch retrain {folder.root}" + ("" if trial is None else f" --beside --trial {trial}")


def is_final_whole(folder: StudyFolder) -> bool:
    """Whether the folder's final training has its scores and its model."""
    return folder.scores.exists() and folder.model.exists()
