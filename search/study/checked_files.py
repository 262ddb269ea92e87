"""The files beside a study's journal that must stay as they were: what they held is kept in the study."""

from collections.abc import Iterator
from pathlib import Path

from search.errors import StudyError
from search.study.fingerprint import Fingerprint
from search.study.folder import StudyFolder
from search.study.study import Study

_KEY = "file:"
"""Before a file's name: the study's value that holds its fingerprint."""


def keep_files(study: Study, folder: StudyFolder) -> None:
    """Notes what split.csv, quarantine.csv and folds.csv hold, as they were just written. Raises OSError."""
    for path in filter(Path.exists, _files(folder)):
        study.set_value(f"{_KEY}{path.name}", Fingerprint.of(path.read_bytes()).to_text())


def problems(study: Study, folder: StudyFolder) -> Iterator[str]:
    """One line for each of those files that cannot be read or was changed: where, and what to do.

    A study of an earlier version knows nothing of them, and nothing is said.
    """
    for path in _files(folder):
        kept = study.get_value(f"{_KEY}{path.name}")
        if kept is None:
            continue
        try:
            damage = Fingerprint.from_text(str(kept)).damage(path.read_bytes())
        except OSError as error:
            yield f"{path}: cannot be read: {error.strerror or error}: put it back"
            continue
        if damage:
            yield f"{path}, {damage}: damaged (not as the study made it): put back a copy of this file"


def check_files(study: Study, folder: StudyFolder) -> None:
    """Raises StudyError with all `problems`."""
    found = tuple(problems(study, folder))
    if found:
        raise StudyError("\n".join(found))


def split_digest(study: Study, *, of_folds: bool = False) -> str:
    """Digest that split.csv or folds.csv must have; empty for a study of an earlier version."""
    kept = study.get_value(f"{_KEY}{'folds' if of_folds else 'split'}.csv")
    return "" if kept is None else Fingerprint.from_text(str(kept)).whole


def check_folder(folder: StudyFolder) -> None:
    """`check_files` of the study in a folder; nothing for the folder of a fixed recipe, which has none."""
    if folder.log.exists():
        check_files(Study.open(folder.root, read_only=True), folder)


def _files(folder: StudyFolder) -> tuple[Path, ...]:
    return folder.split, folder.quarantine, folder.folds
