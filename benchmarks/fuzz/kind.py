"""One kind of file, how it is damaged and read, and in which of five ways a try may end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from carcls.errors import CarclsError
from search.errors import SearchError

ENDS = ("refused", "harmless", "silent", "traceback")


class SilentError(Exception):
    """What was read is not what the file may say, and no message said so."""


@dataclass(frozen=True)
class Kind:
    """`read` raises SilentError where a file that is accepted breaks what was promised of it."""

    name: str
    wholes: Sequence[bytes]
    """Sound files, one of which each try damages."""
    damage: Callable[[Random, bytes], bytes]
    read: Callable[[bytes, Path], object]
    """Content and an empty folder -> what it holds."""
    equal: bool = False
    """Whether what is accepted must be what the sound file holds: it has a checksum."""


def end_of(kind: Kind, content: bytes, folder: Path, expected: object) -> tuple[str, str]:
    """How a try ends, and the error's text where there is one. expected: of the sound file, where `equal`."""
    try:
        found = kind.read(content, folder)
    except (CarclsError, SearchError) as error:
        return "refused", str(error)
    except SilentError as error:
        return "silent", str(error)
    except Exception as error:  # noqa: BLE001 - whatever else it raises is what is looked for
        return "traceback", f"{type(error).__name__}: {error}"
    if kind.equal and found != expected:
        return "silent", "read as something else"
    return "harmless", ""
