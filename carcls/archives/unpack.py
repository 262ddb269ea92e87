"""Archives -> files below one folder: the contest's train.zip and test.zip, zip in zip, tar. Nothing goes elsewhere.

All archives, with those inside them, are read and checked before the first file appears. Each file then appears whole,
also after a power cut, see `placing`; after a kill the same call goes on where it was cut off, for what stands there
already is compared and kept.
"""

import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from carcls.archives.budget import Budget
from carcls.archives.members import Member, Read, check_collisions, contents, read_members
from carcls.archives.placing import Flush, Placing, sync_filesystem
from carcls.errors import DataError

MAX_TOTAL_BYTES = 256 * 2**30
MAX_DEPTH = 3
"""Archives within each other, the outermost counted."""

_STAGING = ".carsearch-unpack"
_FOLDER_OF = {"train": "train", "test": "test_upload", "test_upload": "test_upload"}
"""Where photos of the contest's archives belong if the archive itself names no such folder."""
_PIECE_BYTES = 1 << 20

OnBytes = Callable[[int, int], None]
"""Called as (bytes done, bytes in all)."""
MembersOf = Callable[[Path, str, Budget], list[Member]]
"""What an archive holds, asked by its path and its name in messages."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What one call did."""

    written: int
    """Files."""
    kept: int
    """Files that stood there already with the same content."""
    byte_count: int
    """Of both."""
    notes: tuple[str, ...] = ()
    """How names were read whose code page the archive does not note."""


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    name: str
    """For messages; an archive inside another is `outer.zip > inner.zip`."""
    folder: str
    """Posix, relative to the root, ending in `/` or empty: where its files go."""
    members: tuple[Member, ...]


def unpack(
    archives: Sequence[Path],
    root: Path,
    *,
    replace: bool,
    on_bytes: OnBytes,
    flush: Flush = sync_filesystem,
    encoding: str | None = None,
) -> Unpacked:
    """Unpacks zip and tar archives, and archives inside them, to `root`; see `read_members` for what is refused.

    replace: whether a file that stands there with other content is replaced; else it is an error. When it returns, all
    is on the disk to stay: `flush` has seen to it. encoding: of names whose code page an archive does not note; None:
    one is chosen for each archive, see `read_names`.
    Raises DataError naming archive, entry and reason; OSError where the disk refuses.
    """
    for archive in archives:
        if not archive.is_file():
            raise DataError(f"{archive}: no such file; expected a zip or tar archive")
    with _staging(root) as staging:
        notes: list[str] = []
        members_of = partial(read_members, encoding=encoding, tell=notes.append)
        plans: list[_Archive] = []
        for number, archive in enumerate(archives):
            inner = _Inner(staging, f"{number}-", Budget.of(archive))
            plans += _plan(archive, archive.name, "", inner, members_of, depth=1)
        # Equal paths in two archives are not refused here: their content decides when they are written.
        targets = sorted({plan.folder + member.path for plan in plans for member in plan.members})
        check_collisions([*targets, _STAGING], " and ".join(dict.fromkeys(plan.name for plan in plans)))
        total = sum(member.byte_count for plan in plans for member in plan.members)
        _check_room(root, total)
        with Placing(staging, flush=flush) as placing:
            writer = _Writer(root, placing, replace, on_bytes, total)
            for plan in plans:
                writer.unpack(plan)
    return Unpacked(writer.written, writer.kept, total, tuple(notes))


class _Writer:
    """Writes the files of archives that were checked, and counts."""

    def __init__(self, root: Path, placing: Placing, replace: bool, on_bytes: OnBytes, total: int) -> None:
        self.written = self.kept = 0
        self._root, self._replace, self._on_bytes = root, replace, on_bytes
        self._placing = placing
        self._done, self._total = 0, total

    def unpack(self, plan: _Archive) -> None:
        members = {member.position: member for member in plan.members}
        for position, read in contents(plan.path, plan.name, set(members)):
            self._place(plan, members[position], read)
            self._done += members[position].byte_count
            self._on_bytes(self._done, self._total)

    def _place(self, plan: _Archive, member: Member, read: Read) -> None:
        path = _below(self._root, plan.folder + member.path, plan.name)
        self._placing.settle(path)
        there = path.exists()
        if there and member.crc is not None and _has(path, member.byte_count, member.crc):
            self.kept += 1
            return
        crc = _copy(read, self._placing.part, member, plan.name)
        if there and _has(path, member.byte_count, crc):
            self.kept += 1
            return
        if there and not (self._replace and path.is_file()):
            raise DataError(
                f"{plan.name}: {member.path!r} differs from what stands at {path}; delete that, name another folder,"
                " or add --replace"
            )
        self._placing.add(path, member.byte_count)
        self.written += 1


@dataclass(slots=True)
class _Inner:
    """Where the archives inside an outermost one are copied to, and what is left of its budget."""

    staging: Path
    prefix: str
    budget: Budget

    def next_copy(self, name: str) -> Path:
        return self.staging / f"{self.prefix}{self.budget.spend_archive(name)}"


def _plan(
    archive: Path, name: str, folder: str, inside: _Inner, members_of: MembersOf, *, depth: int
) -> list[_Archive]:
    """The archive and those inside it, which are copied to the staging folder."""
    members = members_of(archive, name, inside.budget)
    inner = [member for member in members if member.is_archive]
    plain = tuple(member for member in members if not member.is_archive)
    if inner and depth == MAX_DEPTH:
        raise DataError(f"{name}: {inner[0].path!r} is archive number {depth + 1} inside another; unpack it by hand")
    _check_room(inside.staging, sum(member.byte_count for member in inner))
    by_position = {member.position: member for member in inner}
    copies: list[tuple[Member, Path]] = []
    for position, read in contents(archive, name, set(by_position)):
        copy = inside.next_copy(name)
        _copy(read, copy, by_position[position], name)
        copies.append((by_position[position], copy))
    target = folder + _contest_folder(archive if depth == 1 else Path(name.rsplit("> ", 1)[-1]), members)
    plans = [_Archive(archive, name, target, plain)]
    for member, copy in copies:
        parent = "".join(f"{part}/" for part in member.path.split("/")[:-1])
        plans += _plan(copy, f"{name} > {member.path}", target + parent, inside, members_of, depth=depth + 1)
    return plans


def _contest_folder(archive: Path, members: Sequence[Member]) -> str:
    """`train/` for a train.zip whose photos lie in class folders at its top; empty where nothing need be added."""
    folder = _FOLDER_OF.get(archive.name.split(".")[0].lower())
    tops = {member.path.split("/")[0] for member in members}
    in_order = tops & {"train", *_FOLDER_OF.values(), "test"} or any(top.lower().endswith(".csv") for top in tops)
    return f"{folder}/" if folder and members and not in_order else ""


def _copy(read: Read, path: Path, member: Member, name: str) -> int:
    """Writes an entry to `path`; returns its CRC-32. Raises DataError where it is not as long as it says."""
    crc, left = 0, member.byte_count
    with path.open("wb") as file:
        while piece := read(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                break
            crc = zlib.crc32(piece, crc)
            file.write(piece)
    if left:
        raise DataError(f"{name}: {member.path!r} is not the {member.byte_count:,} bytes it claims; download it again")
    return crc


def _has(path: Path, byte_count: int, crc: int) -> bool:
    """Whether a plain file has this content."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != byte_count:
        return False
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found = zlib.crc32(piece, found)
    return found == crc


def _below(root: Path, path: str, name: str) -> Path:
    """root/path, its folders made. Raises DataError where a link or a file stands in the way."""
    folder = root
    *parents, last = path.split("/")
    for part in parents:
        folder /= part
        if folder.is_symlink():
            raise DataError(f"{name}: {path!r} would be written through the link {folder}; remove the link")
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:
            raise DataError(f"{name}: {path!r} needs a folder where the file {folder} stands; move that") from None
    if (folder / last).is_symlink():
        raise DataError(f"{name}: {path!r} would replace the link {folder / last}; remove the link")
    return folder / last


def _check_room(folder: Path, byte_count: int) -> None:
    free = shutil.disk_usage(folder).free
    if byte_count > min(free, MAX_TOTAL_BYTES):
        raise DataError(
            f"{folder}: the archives unpack to {byte_count:,} bytes; {free:,} are free there, and at most"
            f" {MAX_TOTAL_BYTES:,} are unpacked. Free room, or name a folder on a larger disk"
        )


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder of this call alone inside `root`, gone afterwards; what a killed call left in it goes first."""
    staging, made = root / _STAGING, not root.exists()
    if staging.is_symlink():
        raise DataError(f"{staging}: a link; remove it")
    staging.mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"{root}: another `data unpack` is at work there; wait for its end") from None
    try:
        for left in staging.iterdir():
            if left.name != "lock":
                left.unlink()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()
        if made and not any(root.iterdir()):
            root.rmdir()
