"""One copy per node of photos in object storage, below the store's folder.

`photos/<hash of the URL>/` holds the copy (`files`), a lock, and once it is complete a listing. A file has its name
only when its content was checked, and its time of modification is that of the original, so that a killed copy
continues where it stopped.
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock

from carcls.archives.unpack import unpack
from carcls.dataset.object_storage import ObjectStorage, RemoteFile, is_archive
from carcls.errors import DataError
from carcls.store.disk import free_bytes
from carcls.store.mirrors import SIZE_NAME, mirror_folder
from carcls.system import atomic
from carcls.system.threads import for_each

_THREADS = 16
_TRIES = 3
"""Downloads of one file that arrives damaged."""
_PART = ".part"

_log = logging.getLogger(__name__)
_complete: set[Path] = set()
"""Copies that this process has found complete."""
_one_at_a_time = threading.Lock()

OnBytes = Callable[[int, int], None]
"""Called with (bytes done, total bytes), by any thread, one at a time."""


def _ignore(done: int, total: int) -> None:
    """The default of `on_bytes`."""


def mirrored(
    url: str, store: Path, *, quota_bytes: int | None = None, renew: bool = False, on_bytes: OnBytes = _ignore
) -> Path:
    """The folder of this node's copy of the photos at a URL, copied first if it is missing or incomplete.

    store: root of the node's store. quota_bytes: limit of the store, to which the copy counts. renew: whether to look
    for changes of the original, for a new study. One process copies while others wait.

    Raises DataError if nothing usable is there, if the copy exceeds the quota, or if a file arrives damaged each time;
    DiskFullError; and OSError if the storage cannot be reached.
    """
    folder = mirror_folder(store, url)
    files = folder / "files"
    with _one_at_a_time:
        if folder in _complete and not renew:
            return files
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "copying.lock"):
            if renew or _listing(folder) is None:
                _copy(ObjectStorage(url), folder, quota_bytes=quota_bytes, on_bytes=on_bytes)
        _complete.add(folder)
    return files


def _listing(folder: Path) -> dict[str, Any] | None:
    """The listing of a complete copy: None if there is none, or if a file of it is missing or has another length."""
    try:
        listing: dict[str, Any] = json.loads((folder / "listing.json").read_text(encoding="utf-8"))
        is_whole = all((folder / "files" / name).stat().st_size == size for name, size in listing["sizes"].items())
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None
    return listing if is_whole else None


def _copy(storage: ObjectStorage, folder: Path, *, quota_bytes: int | None, on_bytes: OnBytes) -> None:
    listed = storage.files()
    originals = [[file.name, file.size, file.mtime_ns] for file in listed]
    if (_listing(folder) or {}).get("originals") == originals:
        return
    (folder / "listing.json").unlink(missing_ok=True)
    into = folder / ("archive" if is_archive(storage.url) else "files")
    into.mkdir(exist_ok=True)
    _check_room(storage.url, listed, into, quota_bytes)
    _remove_others(into, listed)
    missing = [file for file in listed if not _is_here(file, into)]
    progress = _Progress(sum(file.size for file in listed), sum(file.size for file in missing), on_bytes)
    gigabytes = sum(file.size for file in missing) / 1e9
    _log.info("%s: copying %d files (%.3g GB) to %s", storage.url, len(missing), gigabytes, into)
    for_each(lambda file: _fetch(storage, file, into, progress), missing, threads=_THREADS)
    if is_archive(storage.url):
        shutil.rmtree(folder / "files", ignore_errors=True)  # another archive may have had other files
        (folder / "files").mkdir(exist_ok=True)
        unpack([into / file.name for file in listed], folder / "files", replace=True, on_bytes=_ignore)
        shutil.rmtree(into)  # the listing tells whether the original has changed
    os.sync()  # before the listing, so that a power cut cannot leave it without the files
    sizes = {
        path.relative_to(folder / "files").as_posix(): path.stat().st_size
        for path in (folder / "files").rglob("*")
        if path.is_file()
    }
    atomic.write_text(folder / SIZE_NAME, str(sum(sizes.values())))
    atomic.write_text(folder / "listing.json", json.dumps({"url": storage.url, "originals": originals, "sizes": sizes}))
    _log.info("%s: %d files are copied to %s", storage.url, len(sizes), folder / "files")


def _fetch(storage: ObjectStorage, file: RemoteFile, into: Path, progress: "_Progress") -> None:
    path = into / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{blake2b(path.name.encode(), digest_size=8).hexdigest()}{_PART}")
    damage: str | None = None
    for _ in range(_TRIES):
        with atomic.naming_full_disk(path):
            damage = storage.download(file, part)
        if damage is None:
            os.utime(part, ns=(file.mtime_ns, file.mtime_ns))
            part.replace(path)
            progress.add(file.size)
            return
        _log.warning("%s/%s arrived damaged: %s: reading it again", storage.url, file.name, damage)
    part.unlink(missing_ok=True)
    raise DataError(f"{storage.url}/{file.name}: arrived damaged {_TRIES} times ({damage}): store it there again")


class _Progress:
    def __init__(self, total: int, missing: int, on_bytes: OnBytes) -> None:
        self._total, self._done, self._on_bytes = total, total - missing, on_bytes
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._on_bytes(self._done, self._total)


def _is_here(file: RemoteFile, into: Path) -> bool:
    try:
        status = (into / file.name).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)


def _remove_others(into: Path, listed: Sequence[RemoteFile]) -> None:
    """Delete what the original no longer has, and parts of files that a killed copy left."""
    names = {file.name for file in listed}
    for path in into.rglob("*"):
        if not path.is_dir() and path.relative_to(into).as_posix() not in names:
            path.unlink()


def _check_room(url: str, listed: Sequence[RemoteFile], into: Path, quota_bytes: int | None) -> None:
    total = sum(file.size for file in listed)
    if quota_bytes is not None and total > quota_bytes:
        raise DataError(
            f"{url}: {total / 1e9:.3g} GB of photos do not fit the store's quota of {quota_bytes / 1e9:.3g} GB: raise"
            " store.quota_gb"
        )
    missing = sum(file.size for file in listed if not _is_here(file, into))
    free = free_bytes(into)
    if missing > free:
        raise DataError(
            f"{url}: {missing / 1e9:.3g} GB of photos do not fit the {free / 1e9:.3g} GB that are free below {into}:"
            " set store.root (or CARSEARCH_STORE) to a folder on a larger disk"
        )
