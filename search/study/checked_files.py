"""Checks the files beside a study's journal that must not change. The study stores their fingerprints."""

from collections.abc import Iterator
from pathlib import Path

from search.errors import StudyError
from search.study.fingerprint import Fingerprint
from search.study.folder import StudyFolder
from search.study.study import Study

_KEY = "file:"
"""Prefix of the study's values that hold fingerprints; a file's name follows."""


def keep_files(study: Study, folder: StudyFolder) -> None:
    """Store the fingerprints of split.csv, quarantine.csv, folds.csv and the others as just written. Raises OSError."""
    for path in filter(Path.exists, _files(folder)):
        keep_file(study, path)


def keep_file(study: Study, path: Path) -> None:
    """Store the fingerprint of one of these files. Raises OSError."""
    study.set_value(f"{_KEY}{path.name}", Fingerprint.of(path.read_bytes()).to_text())


def problems(study: Study, folder: StudyFolder) -> Iterator[str]:
    """One line for each file that cannot be read or was changed: where, and what to do.

    Studies of earlier versions have no fingerprints, so they have no problems.
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
    """Raise StudyError with all `problems`, if there are any."""
    found = tuple(problems(study, folder))
    if found:
        raise StudyError("\n".join(found))


def split_digest(study: Study, *, of_folds: bool = False) -> str:
    """BLAKE2b-128 that split.csv or folds.csv must have, in hex; empty for a study of an earlier version."""
    kept = study.get_value(f"{_KEY}{'folds' if of_folds else 'split'}.csv")
    return "" if kept is None else Fingerprint.from_text(str(kept)).whole


def extra_digest(study: Study) -> str:
    """BLAKE2b-128 that extra.csv must have, in hex; empty without extra photos."""
    return _digest(study, "extra.csv")


def unlabelled_digest(study: Study) -> str:
    """The same of unlabelled.csv."""
    return _digest(study, "unlabelled.csv")


def _digest(study: Study, name: str) -> str:
    kept = study.get_value(f"{_KEY}{name}")
    return "" if kept is None else Fingerprint.from_text(str(kept)).whole


def check_folder(folder: StudyFolder) -> None:
    """Run `check_files` on the study in a folder. Does nothing for a fixed recipe, which has no study."""
    if folder.log.exists():
        check_files(Study.open(folder.root, read_only=True), folder)


def _files(folder: StudyFolder) -> tuple[Path, ...]:
    return folder.split, folder.quarantine, folder.folds, folder.extra, folder.unlabelled
