"""A study folder under construction: a locked draft, renamed into place once complete."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carcls.system.atomic import sync
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.node_store import keep_pointer
from search.study.bucket.places import refresh
from search.study.deletion import delete_study
from search.study.final_lock import retraining
from search.study.folder import StudyFolder
from search.study.record.journal import LOCK_NAME, WriterLock

_RANDOM = "[a-z0-9_]{8}"
"""Suffix that mkdtemp adds to a name."""
_YOUNG_S = 60.0
"""Longer than a creator needs between making its draft and locking it."""
_SET_ASIDE = ".old-"
"""Separates the name of a replaced study from its random suffix. Study names contain no dot."""


def exists_already(folder: StudyFolder) -> StudyError:
    """The error of `run` for a study that exists already."""
    return StudyError(
        f"{folder.root} exists already: continue it with 'carsearch resume {folder.root}' or, as for '--hours', with"
        " '--or-resume'; or start over with '--replace', which deletes it"
    )


def study_place(experiment: Experiment) -> StudyFolder:
    """The study's folder, existing or not, after removing what a killed creation left behind."""
    folder = StudyFolder(experiment.results / experiment.name)
    if experiment.results_url is not None:
        keep_pointer(experiment.results, experiment.results_url)
        refresh(folder.root)
    for path in sorted(folder.root.parent.glob(f".{folder.name}[-.]*")):
        is_draft = re.fullmatch(re.escape(f".{folder.name}-") + _RANDOM, path.name)
        is_old = re.fullmatch(re.escape(f".{folder.name}{_SET_ASIDE}") + _RANDOM, path.name)
        if is_old or (is_draft and not _is_being_born(path)):
            with suppress(StudyError), held(path):  # StudyError: another process uses it
                if is_old and not folder.root.exists():
                    _rename(path, folder.root)  # Killed between two renames: restore the old study.
                else:
                    delete_study(path)
    return folder


def _is_being_born(draft: Path) -> bool:
    """True if a draft's creator may not have locked it yet: it is young, and its lock file names no process."""
    with suppress(FileNotFoundError):
        if (draft / LOCK_NAME).stat().st_size:
            return False
    with suppress(FileNotFoundError):
        return abs(time.time() - draft.stat().st_mtime) < _YOUNG_S
    return False


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Holds the lock of a folder. Raises StudyError if another process holds it."""
    lock = WriterLock.acquire(root)
    try:
        yield
    finally:
        lock.release()


def sync_all(root: Path) -> None:
    """Sync everything before the folder gets its name: after a power cut it is complete or absent."""
    for path in (*root.rglob("*"), root):
        sync(path)


def publish(draft: StudyFolder, folder: StudyFolder, *, replace: bool) -> None:
    """Rename the finished draft into place. With `replace`, the old folder is deleted only afterwards.

    Raises StudyError if a driver or a final training is using the old folder, or if a folder has appeared meanwhile.
    """
    if not folder.root.exists():
        _rename(draft.root, folder.root)
        return
    if not replace:
        raise exists_already(folder)
    old = folder.root.with_name(f".{folder.name}{_SET_ASIDE}{draft.name[-8:]}")
    with held(folder.root), retraining(folder):
        _rename(folder.root, old)
        try:
            _rename(draft.root, folder.root)
        except OSError:
            _rename(old, folder.root)
            raise
    delete_study(old)


def _rename(source: Path, target: Path) -> None:
    """Rename a study's folder durably."""
    source.rename(target)
    sync(target.parent)
