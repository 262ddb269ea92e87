"""The study that a command is about: a folder, or a URL whose study is first brought to this machine."""

from pathlib import Path
from typing import Annotated

import typer

_HELP = "The study's folder, such as results/cars, or its URL."


def study_to_read(text: str) -> Path:
    """The folder of a study whose checkpoints are not needed."""
    return _local(text, checkpoints=False)


def study_to_change(text: str) -> Path:
    """The folder of a study with all its files."""
    return _local(text, checkpoints=True)


def _local(text: str, *, checkpoints: bool) -> Path:
    from search.experiment.file.paths import URL_SCHEMES, is_url

    if not is_url(text):
        if "://" in text:
            from search.errors import StudyError

            raise StudyError(f"{text}: expected a folder or a URL of {URL_SCHEMES}")
        return Path(text)
    from search.study.bucket.places import study_at

    return study_at(text, checkpoints=checkpoints)


StudyArgument = Annotated[Path, typer.Argument(help=_HELP, show_default=False, metavar="STUDY", parser=study_to_change)]
ReadStudyArgument = Annotated[
    Path, typer.Argument(help=_HELP, show_default=False, metavar="STUDY", parser=study_to_read)
]
