"""Whether a driver is at work on a study."""

from search.study.bucket.places import has_bucket_driver
from search.study.folder import StudyFolder
from search.study.record.journal import is_held
from search.study.record.record_pointer import pointer_of


def has_driver(folder: StudyFolder) -> bool:
    """True while a process holds the folder's lock, or that of the study's record in a database or bucket.

    The folder's lock may not be seen from other machines. Raises StudyError and OSError if the database cannot tell.
    """
    if is_held(folder.root) or has_bucket_driver(folder.root):
        return True
    pointer = pointer_of(folder.log)
    if pointer is None:
        return False
    from search.study.record import database_lock  # noqa: PLC0415 - needs an extra

    return database_lock.has_driver(pointer)
