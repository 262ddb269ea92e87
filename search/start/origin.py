"""From which archives a folder of unpacked photos came, so that two archives of one name do not mix in it."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from carcls.dataset.unlabelled import photos_below
from carcls.system import atomic
from search.errors import StartError

ORIGIN_NAME = ".carsearch-origin.json"
"""File in the folder. Dot-files are never read as photos or labels."""
_FROM, _DIGEST = "from", "digest"


def check_origin(folder: Path, archives: Sequence[Path], members: Mapping[str, int]) -> None:
    """Notes in `folder` where its files come from. Raises StartError if photos are there that `archives` lack.

    members: size in bytes of each file in the archives, by its path in the folder. Archives that hold all photos of
    the folder may have changed: unpacking adds the rest, and refuses files with other content.
    """
    named = [f"{path.name} of {path.stat().st_size:,} bytes" for path in archives]
    digest = _digest(members)
    noted = _noted(folder / ORIGIN_NAME)
    if noted is not None and noted[1] == digest:
        return
    strange = next((path for path in photos_below(folder) if not _is_member(path, folder, members)), None)
    if strange is not None:
        path, names = strange.relative_to(folder).as_posix(), " or ".join(archive.name for archive in archives)
        other = f"came from another {noted[0]}, not from {' and '.join(named)}: it " if noted else ""
        why = f"{other}holds {path}, which is not in {names} with its {strange.stat().st_size:,} bytes"
        raise _refused(folder, archives[0], why)
    atomic.write_text(folder / ORIGIN_NAME, json.dumps({_FROM: named, _DIGEST: digest}))


def _is_member(path: Path, folder: Path, members: Mapping[str, int]) -> bool:
    return members.get(path.relative_to(folder).as_posix()) == path.stat().st_size


def _digest(members: Mapping[str, int]) -> str:
    """Of the names and sizes of everything unpacked. Archives may be moved, renamed or packed anew."""
    return blake2b(json.dumps(sorted(members.items())).encode(), digest_size=16).hexdigest()


def _noted(file: Path) -> tuple[str, str] | None:
    """The note: what was unpacked, in words, and the digest. None if there is no readable one."""
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        return " and ".join(map(str, note[_FROM])), str(note[_DIGEST])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _refused(folder: Path, archive: Path, why: str) -> StartError:
    return StartError(
        f"{folder} {why}; the photos of both would mix. Delete or move {folder} if it is no longer needed, or unpack"
        f" elsewhere with 'carsearch data unpack {archive} FOLDER' and give FOLDER"
    )
