"""What `study.log` holds if the study's record is in a database: where it is, and which one it is."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import UUID

from carcls.system import atomic
from search.errors import StudyError
from search.experiment.database_url import checked_url

_OPERATION = "elsewhere"
"""The line is an entry of an operation that Optuna does not have, so that older versions refuse it as another
version's, instead of cutting it off as torn."""
_BEGIN = f'{{"op_code": "{_OPERATION}"'.encode()


@dataclass(frozen=True, slots=True)
class RecordPointer:
    """The address of a record in a database. The address may be edited in the file, after the server has moved."""

    storage: str
    """The database, without a password."""
    study: UUID
    """The key of the study there."""

    @classmethod
    def read(cls, log: Path) -> Self | None:
        """The pointer in `study.log`, or None for a journal. Raises OSError, and StudyError if it cannot be used."""
        with log.open("rb") as file:
            if file.read(len(_BEGIN)) != _BEGIN:
                return None
            file.seek(0)
            text = file.read()
        try:
            entry = json.loads(text)
            storage, study = str(entry["storage"]), UUID(entry["study"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StudyError(f"{log}: damaged: expected the address of a database, and a study's key there") from error
        try:
            return cls(checked_url(storage), study)
        except ValueError as error:
            raise StudyError(f"{log}: storage: {error}") from error

    def write(self, log: Path) -> None:
        """Write the pointer durably. Raises OSError."""
        entry = {"op_code": _OPERATION, "worker_id": "carsearch", "storage": self.storage, "study": str(self.study)}
        atomic.write_text(log, f"{json.dumps(entry)}\n")


def pointer_of(log: Path) -> RecordPointer | None:
    """The pointer in `study.log`, or None if it is a journal or absent. Raises StudyError if it cannot be read."""
    try:
        return RecordPointer.read(log)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(f"{log}: cannot be read: {error.strerror or error}") from error
