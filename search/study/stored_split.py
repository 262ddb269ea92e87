"""Reads a study's split and checks its digest. Imports little, since every trial's process uses it."""

import contextlib
from pathlib import Path

from carcls.dataset.table import ImageTable
from carcls.errors import DataError
from carcls.splits.extra import ExtraPhotos, parse_extra
from carcls.splits.k_folds import EVERY_PHOTO, parse_folds
from carcls.splits.split import Split, all_trained
from carcls.splits.split_files import parse_split, read_split
from search.study.fingerprint import digest_of
from search.study.folder import StudyFolder


def shared_tables(folder: StudyFolder, data_root: Path, *, fold: int | None) -> tuple[ImageTable, ...]:
    """Tables of the study's own split, for a training on a fold. The store may already hold their pixels.

    Empty without a fold, and if the split cannot be read, since sharing pixels only saves time.
    """
    if fold is None:
        return ()
    with contextlib.suppress(DataError):
        split = read_split(folder.split, data_root)
        return (split.train, split.validation)
    return ()


def read_study_split(folder: StudyFolder, data_root: Path, digest: str, *, fold: int | None = None) -> Split:
    """The split in a study's folder, the split of one of its folds, or with EVERY_PHOTO the one without validation.

    digest: BLAKE2b-128 of the file, in hex; empty if the study does not know it. Raises DataError if the file cannot be
    read or has another digest.
    """
    is_whole = fold is None or fold == EVERY_PHOTO
    path = folder.split if is_whole else folder.folds
    content = _checked(path, digest)
    if fold is None:
        return parse_split(content, path, data_root)
    if fold == EVERY_PHOTO:
        return all_trained(parse_split(content, path, data_root))
    return parse_folds(content, path, data_root).split(fold)


def read_study_extra(folder: StudyFolder, root: Path, digest: str) -> ExtraPhotos:
    """The study's extra photos, which are in `root`. digest: as in `read_study_split`. Raises DataError."""
    return parse_extra(_checked(folder.extra, digest), folder.extra, root)


def read_study_unlabelled(folder: StudyFolder, root: Path, digest: str) -> ImageTable:
    """The photos that may get pseudo-labels, below `root`; labels mean nothing. Raises DataError."""
    return parse_extra(_checked(folder.unlabelled, digest), folder.unlabelled, root).photos


def _checked(path: Path, digest: str) -> bytes:
    """Content of a file with this digest, or any if it is empty. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if digest and digest_of(content) != digest:
        raise DataError(f"{path}: damaged (not as the study made it): put back a copy of this file")
    return content
