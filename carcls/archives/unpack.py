"""Unpacks archives into one folder: a competition's train.zip and test.zip, nested zips, tar files.

All archives, including nested ones, are read and checked before the first file is written. Files appear complete, also
after a power cut (see `staged_files`). After a kill the same call continues: files that are already there are compared
and kept.
"""

import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from carcls.archives.member_paths import check_collisions
from carcls.archives.members import Member, Read, read_contents, read_members
from carcls.archives.staged_files import Flush, StagedFiles, sync_filesystem
from carcls.archives.unpack_budget import Budget
from carcls.errors import DataError

MAX_TOTAL_BYTES = 256 * 2**30
MAX_DEPTH = 3
"""Nesting levels of archives, including the outermost."""

_STAGING = ".carsearch-unpack"
_FOLDER_OF = {"train": "train", "test": "test_upload", "test_upload": "test_upload"}
"""Archive name -> folder for its photos if the archive itself has no such folder."""
_PIECE_BYTES = 1 << 20

OnBytes = Callable[[int, int], None]
"""Called with (bytes done, total bytes)."""
BeforeWriting = Callable[[Mapping[str, int]], None]
"""Called with the size in bytes of each file to write, by its path below the folder."""
ReadMembers = Callable[[Path, str, Budget], list[Member]]
"""Called with (archive, name in messages, budget); returns the archive's members."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Result of one call."""

    written: int
    """Number of files written."""
    kept: int
    """Number of files that already existed with the same content."""
    byte_count: int
    """Total size of both."""
    notes: tuple[str, ...] = ()
    """How file names without a declared encoding were decoded."""


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    name: str
    """For messages; a nested archive is `outer.zip > inner.zip`."""
    folder: str
    """Target folder: POSIX, relative to the root, ending in `/` or empty."""
    members: tuple[Member, ...]


def unpack(
    archives: Sequence[Path],
    root: Path,
    *,
    replace: bool,
    on_bytes: OnBytes,
    flush: Flush = sync_filesystem,
    encoding: str | None = None,
    before: BeforeWriting = lambda _: None,
) -> Unpacked:
    """Unpacks zip and tar archives, and archives inside them, to `root`. See `read_members` for what is rejected.

    replace: whether to overwrite a file that exists with other content, which is otherwise an error. Everything is
    durable on return, through `flush`. encoding: of names whose encoding an archive does not declare; None guesses one
    for each archive, see `decode_names`. before: called before the first file is written; what it raises ends the call.

    Raises DataError naming archive, entry and reason, and OSError.
    """
    for archive in archives:
        if not archive.is_file():
            raise DataError(f"{archive}: no such file; expected a zip or tar archive")
    with _staging(root) as staging:
        notes: list[str] = []
        list_members = partial(read_members, encoding=encoding, tell=notes.append)
        plans: list[_Archive] = []
        for number, archive in enumerate(archives):
            inner = _Inner(staging, f"{number}-", Budget.of(archive))
            plans += _plan(archive, archive.name, "", inner, list_members, depth=1)
        # Equal paths in two archives are allowed here: whether their contents agree is checked on writing.
        targets = sorted({plan.folder + member.path for plan in plans for member in plan.members})
        check_collisions([*targets, _STAGING], " and ".join(dict.fromkeys(plan.name for plan in plans)))
        total = sum(member.byte_count for plan in plans for member in plan.members)
        _check_room(root, total)
        before({plan.folder + member.path: member.byte_count for plan in plans for member in plan.members})
        with StagedFiles(staging, flush=flush) as staged:
            writer = _Writer(root, staged, replace, on_bytes, total)
            for plan in plans:
                writer.unpack(plan)
    return Unpacked(writer.written, writer.kept, total, tuple(notes))


class _Writer:
    """Writes the files of checked archives and counts them."""

    def __init__(self, root: Path, staged: StagedFiles, replace: bool, on_bytes: OnBytes, total: int) -> None:
        self.written = self.kept = 0
        self._root, self._replace, self._on_bytes = root, replace, on_bytes
        self._staged_files = staged
        self._done, self._total = 0, total

    def unpack(self, plan: _Archive) -> None:
        members = {member.position: member for member in plan.members}
        for position, read in read_contents(plan.path, plan.name, set(members)):
            self._place(plan, members[position], read)
            self._done += members[position].byte_count
            self._on_bytes(self._done, self._total)

    def _place(self, plan: _Archive, member: Member, read: Read) -> None:
        path = _below(self._root, plan.folder + member.path, plan.name)
        self._staged_files.finish(path)
        there = path.exists()
        # Zip stores checksums, so an equal file is recognised without unpacking; tar does not.
        if there and member.crc is not None and _has(path, member.byte_count, member.crc):
            self.kept += 1
            return
        crc = _copy(read, self._staged_files.part, member, plan.name)
        if there and _has(path, member.byte_count, crc):
            self.kept += 1
            return
        if there and not (self._replace and path.is_file()):
            raise DataError(
                f"{plan.name}: {member.path!r} differs from the existing {path}; delete that, choose another folder,"
                " or add --replace"
            )
        self._staged_files.add(path, member.byte_count)
        self.written += 1


@dataclass(slots=True)
class _Inner:
    """Where nested archives are copied to, and the remaining budget of their outermost archive."""

    staging: Path
    prefix: str
    budget: Budget

    def next_copy(self, name: str) -> Path:
        return self.staging / f"{self.prefix}{self.budget.spend_archive(name)}"


def _plan(
    archive: Path, name: str, folder: str, inside: _Inner, list_members: ReadMembers, *, depth: int
) -> list[_Archive]:
    """The archive and its nested archives, which are copied to the staging folder."""
    members = list_members(archive, name, inside.budget)
    inner = [member for member in members if member.is_archive]
    plain = tuple(member for member in members if not member.is_archive)
    if inner and depth == MAX_DEPTH:
        raise DataError(f"{name}: {inner[0].path!r} is nested {depth + 1} archives deep; unpack it by hand")
    _check_room(inside.staging, sum(member.byte_count for member in inner))
    by_position = {member.position: member for member in inner}
    copies: list[tuple[Member, Path]] = []
    for position, read in read_contents(archive, name, set(by_position)):
        copy = inside.next_copy(name)
        _copy(read, copy, by_position[position], name)
        copies.append((by_position[position], copy))
    target = folder + _contest_folder(archive if depth == 1 else Path(name.rsplit("> ", 1)[-1]), members)
    plans = [_Archive(archive, name, target, plain)]
    for member, copy in copies:
        parent = "".join(f"{part}/" for part in member.path.split("/")[:-1])
        plans += _plan(copy, f"{name} > {member.path}", target + parent, inside, list_members, depth=depth + 1)
    return plans


def _contest_folder(archive: Path, members: Sequence[Member]) -> str:
    """Folder to add, such as `train/` for a train.zip with class folders at its top level; empty if none is needed."""
    folder = _FOLDER_OF.get(archive.name.split(".")[0].lower())
    tops = {member.path.split("/")[0] for member in members}
    in_order = tops & {"train", *_FOLDER_OF.values(), "test"} or any(top.lower().endswith(".csv") for top in tops)
    return f"{folder}/" if folder and members and not in_order else ""


def _copy(read: Read, path: Path, member: Member, name: str) -> int:
    """Writes an entry to `path` and returns its CRC-32. Raises DataError if its size is not the declared one."""
    crc, left = 0, member.byte_count
    with path.open("wb") as file:
        while piece := read(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                break
            crc = zlib.crc32(piece, crc)
            file.write(piece)
    if left:
        raise DataError(
            f"{name}: {member.path!r} does not have the {member.byte_count:,} bytes it declares; download it again"
        )
    return crc


def _has(path: Path, byte_count: int, crc: int) -> bool:
    """Whether a regular file has this content."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != byte_count:
        return False
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found = zlib.crc32(piece, found)
    return found == crc


def _below(root: Path, path: str, name: str) -> Path:
    """root/path, after creating its folders. Raises DataError if a link or a file is in the way."""
    folder = root
    *parents, last = path.split("/")
    for part in parents:
        folder /= part
        if folder.is_symlink():
            raise DataError(f"{name}: {path!r} would be written through the link {folder}; remove the link")
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:
            raise DataError(f"{name}: {path!r} needs a folder, but {folder} is a file; move that") from None
    if (folder / last).is_symlink():
        raise DataError(f"{name}: {path!r} would replace the link {folder / last}; remove the link")
    return folder / last


def _check_room(folder: Path, byte_count: int) -> None:
    free = shutil.disk_usage(folder).free
    if byte_count > min(free, MAX_TOTAL_BYTES):
        raise DataError(
            f"{folder}: the archives unpack to {byte_count:,} bytes; {free:,} are free there, and at most"
            f" {MAX_TOTAL_BYTES:,} are unpacked. Free some space, or choose a folder on a larger disk"
        )


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A locked temporary folder inside `root`, removed afterwards. Leftovers of a killed call are deleted first."""
    staging, made = root / _STAGING, not root.exists()
    if staging.is_symlink():
        raise DataError(f"{staging}: a link; remove it")
    staging.mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"{root}: another `data unpack` is running there; wait until it ends") from None
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
