"""From the entries of a journal, wherever it is kept, to Optuna's storage."""

from abc import abstractmethod

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from search.errors import StudyError
from search.study.record.journal_replay import QuickJournalStorage

REMEDY = "put back a copy of this file, or start a new study"


class Lines(BaseJournalBackend):
    """A journal of checksummed lines: a file, or rows of a database."""

    @property
    @abstractmethod
    def read_count(self) -> int:
        """Number of lines read so far, which is the number of the last one."""


def replayed(lines: Lines, where: str, *, remedy: str = REMEDY) -> JournalStorage:
    """The storage that has applied all entries.

    Raises StudyError, with `where` and the line's number, for an entry that Optuna cannot apply; otherwise what
    reading raises.
    """
    try:
        return QuickJournalStorage(lines)
    # Raised by Optuna for intact lines that it cannot apply: a damaged journal without checksums, or a later version's.
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StudyError(
            f"{where} {lines.read_count}: damaged, or written by another version"
            f" ({type(error).__name__}: {error}): {remedy}"
        ) from error
