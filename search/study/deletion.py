"""Deletes studies: the folder, and what of its record is in a database."""

import shutil
from pathlib import Path

from search.errors import StudyError
from search.study.finals_beside import finals_beside
from search.study.folder import StudyFolder
from search.study.record.record_pointer import pointer_of
from search.terminal.logs import get_logger

_log = get_logger(__name__)


def delete_study(root: Path) -> None:
    """Delete a study's folder, and the records of its search and final training. Never raises: what cannot be deleted
    in a database is logged, and what cannot be deleted of the folder stays."""
    forget_records(StudyFolder(root))
    shutil.rmtree(root, ignore_errors=True)


def forget_records(folder: StudyFolder) -> None:
    """Delete the records of a study and its final training from their databases. Does nothing for journals in files."""
    for log in (folder.log, *(one.retrain_study.log for one in (folder, *finals_beside(folder)))):
        try:
            pointer = pointer_of(log)
            if pointer is not None:
                from search.study.record.database_journal import forget_study  # noqa: PLC0415 - needs an extra

                forget_study(pointer)
        except (StudyError, OSError, ImportError) as error:
            _log.warning("%s: its record stays in the database: %s", log, error)
