"""Error messages that end a command: one message for each of our own errors and for errors of the system."""

import os
from typing import Any

from typer.core import TyperGroup

from carcls.errors import CarclsError
from carcls.system.atomic import is_full_disk
from search.errors import SearchError


class Commands(TyperGroup):
    """All commands. Typer itself would end silently after a broken pipe or the end of a file."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context is of a private class of Typer's
        """Runs the command, and turns errors of the system into one-line messages."""
        try:
            return super().invoke(ctx)
        except (EOFError, OSError) as error:
            if isinstance(error, CarclsError):
                raise
            raise RefusedError(refusal_text(error)) from error


class RefusedError(SearchError):
    """An error of the system as one line."""


def refusal_text(error: EOFError | OSError) -> str:
    """The system's error, with the file if known; never empty."""
    if is_full_disk(error):
        return f"{error}: free some space there, then run the same command again"
    if isinstance(error, EOFError):
        return "a process that this one communicated with has ended: run the same command again"
    if error.filename is not None:  # such as a missing permission, or a name that is too long
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if _is_without_folder(error):
        return "the current folder no longer exists: change to one that does"
    name = f" ({type(error).__name__})" if type(error) is not OSError else ""
    return f"the system refused an operation and named no file: {error.strerror or str(error) or 'no cause'}{name}"


def _is_without_folder(error: OSError) -> bool:
    if not isinstance(error, FileNotFoundError):
        return False
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd is the same
    except FileNotFoundError:
        return True
    return False


def message_of(error: CarclsError | SearchError | ImportError) -> str:
    """The message of one of our own errors, or of a failed import."""
    if isinstance(error, ImportError):
        return f"a package that carsearch needs cannot be imported: {error}; install carsearch again"
    return str(error)
