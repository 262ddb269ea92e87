"""Steps of `carsearch run --hours` that may fail while what is done is still submitted: by which errors, in words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from carcls.errors import CarclsError
from search.cli.error_messages import refusal_text
from search.errors import InUseError, SearchError


@contextmanager
def optional(tell: Callable[[Exception], None]) -> Iterator[None]:
    """An error by which a step `may_be_left_out` ends the block and is told. Others pass."""
    try:
        yield
    except Exception as error:
        if not may_be_left_out(error):
            raise
        tell(error)


def may_be_left_out(error: Exception) -> bool:
    """Whether a step may be left out because of this error: one meant for the user, of the system, or of memory.

    Not for a mistake in the program, nor for an exit code, nor while another process does the step.
    """
    from carcls.backend.memory_errors import is_out_of_memory

    if isinstance(error, InUseError):
        return False
    return isinstance(error, CarclsError | SearchError | OSError | EOFError) or is_out_of_memory(error)


def reason_of(error: Exception) -> str:
    """An error that `may_be_left_out`, in words; never empty."""
    if isinstance(error, CarclsError | SearchError):
        return str(error)
    if isinstance(error, OSError | EOFError):
        return refusal_text(error)
    said = str(error).strip().partition("\n")[0]  # a framework adds a page
    return f"out of memory ({type(error).__name__}{f': {said}' if said else ''})"
