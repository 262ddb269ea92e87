"""Final trainings of other trials than the study's own one, with which `carsearch ensemble` averages them."""

import re

from search.study.folder import StudyFolder

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
    if not folder.log.exists():  # a fixed recipe
        return "carsearch train FILE --replace"
    trial = trial_beside(folder)
    which = "" if trial is None else f" --beside --trial {trial}"
    return f"carsearch retrain {folder.root}{which} --replace"


def is_final_whole(folder: StudyFolder) -> bool:
    """Whether the folder's final training has its scores and its model."""
    return folder.scores.exists() and folder.model.exists()
