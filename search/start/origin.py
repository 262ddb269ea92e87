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


def check_origin(folder: Path, sources: Sequence[Path], members: Mapping[str, int]) -> None:
    """Notes in `folder` where its files come from. Raises StartError if other files were unpacked there.

    sources: the archives, and the tables beside them. members: size in bytes of each file in the archives, by its path
    in the folder. An older carsearch left no note: the folder's photos must then be among `members`.
    """
    there = [path.relative_to(folder).as_posix() for path in photos_below(folder)]
    named = [f"{path.name} of {path.stat().st_size:,} bytes" for path in sources]
    digest = _digest(sources, members)
    noted = _noted(folder / ORIGIN_NAME)
    if there and noted is not None and noted[1] != digest:
        raise _refused(folder, sources[0], f"came from another {noted[0]}, not from {' and '.join(named)}")
    strange = [path for path in there if path not in members] if noted is None else []
    if strange:
        raise _refused(
            folder, sources[0], f"holds {strange[0]}, which is not in {' or '.join(p.name for p in sources)}"
        )
    if noted is None or noted[1] != digest:
        atomic.write_text(folder / ORIGIN_NAME, json.dumps({_FROM: named, _DIGEST: digest}))


def _digest(sources: Sequence[Path], members: Mapping[str, int]) -> str:
    """Of the names and sizes of everything unpacked or copied. Archives may be moved, renamed or packed anew."""
    tables = [[path.name, path.stat().st_size] for path in sources if path.suffix.lower() == ".csv"]
    return blake2b(json.dumps([sorted(members.items()), tables]).encode(), digest_size=16).hexdigest()


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
