"""A study's split, compared with what the study knows of it. Light: every trial's process reads it."""

from pathlib import Path

from carcls.data.folds import Split, parse_split
from carcls.errors import DataError
from search.fingerprint import digest_of
from search.folder import StudyFolder


def read_study_split(folder: StudyFolder, data_root: Path, digest: str) -> Split:
    """The split in a study's folder. Raises DataError where it cannot be read, or its BLAKE2b-128 is not `digest`.

    digest: in hex; empty where the study does not know it.
    """
    try:
        content = folder.split.read_bytes()
    except OSError as error:
        raise DataError(f"{folder.split}: cannot be read: {error.strerror or error}") from error
    if digest and digest_of(content) != digest:
        raise DataError(f"{folder.split}: damaged (not as the study made it): put back a copy of this file")
    return parse_split(content, folder.split, data_root)
