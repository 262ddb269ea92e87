"""Allows one final training at a time in a folder. Two would record the same epochs and write the same model."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from search.study.bucket.places import forget_journal
from search.study.deletion import forget_records
from search.study.folder import StudyFolder
from search.study.record.journal import LOCK_NAME, WriterLock


@contextmanager
def retraining(folder: StudyFolder) -> Iterator[None]:
    """Hold the lock of the final training. The system frees it when this process ends.

    Waits half a second at most. Raises StudyError naming the host and process that holds the lock.
    """
    folder.retrain.mkdir(exist_ok=True)
    lock = WriterLock.acquire(folder.retrain, advice="wait for it, or stop it")
    try:
        yield
    finally:
        lock.release()


def clear_retrain(folder: StudyFolder) -> None:
    """Delete the final training. Raises StudyError while another process works on it."""
    with retraining(folder):
        forget_records(folder.retrain_study)
        for entry in folder.retrain.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_NAME:  # another process could lock a new file of this name
                entry.unlink()
        forget_journal(folder.retrain)
