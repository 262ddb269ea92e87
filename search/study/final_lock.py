"""One final training at a time in a folder: two would append to the same epochs and write the same model."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from search.study.folder import StudyFolder
from search.study.journal import LOCK_NAME, WriterLock


@contextmanager
def retraining(folder: StudyFolder) -> Iterator[None]:
    """Held by the one process that may write to the final training; the system frees it when that process ends.

    Never waits. Raises StudyError naming the host and process that holds it.
    """
    folder.retrain.mkdir(exist_ok=True)
    lock = WriterLock.acquire(folder.retrain, advice="wait for it, or stop it")
    try:
        yield
    finally:
        lock.release()


def clear_retrain(folder: StudyFolder) -> None:
    """Deletes the final training, and nothing while another process works on it: StudyError then."""
    with retraining(folder):
        for entry in folder.retrain.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_NAME:  # without its file, the lock would no longer keep others out
                entry.unlink()
