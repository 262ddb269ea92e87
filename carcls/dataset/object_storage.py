"""Reads files of an object storage or another file system by URL: S3, Google Cloud Storage, Azure, or a folder."""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pyarrow import fs

from carcls.dataset.names import is_one_line
from carcls.errors import DataError

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file below a URL."""

    name: str
    """POSIX path relative to the URL; the file's own name if the URL is a file."""
    size: int
    mtime_ns: int
    """When it was written there, Unix time."""
    place: str
    """Its path in its file system."""


class ObjectStorage:
    """The files below one URL, or the one file that it names. Safe for concurrent use by threads.

    Credentials come from the provider's own chain (environment, configuration files, the machine's role). Raises
    DataError for a URL that cannot be used, and OSError naming the URL where the storage cannot be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._etags_are_md5 = True
        self._other_md5s: dict[str, str] = {}
        """MD5s of files as they were read last, where the ETag is another."""
        self._system, self._root = open_storage(url)

    def files(self) -> list[RemoteFile]:
        """All files, by name. Raises DataError if there is none, or if a name would leave a folder."""
        with named_errors(self.url):
            top = self._system.get_file_info(self._root)
            if top.type == fs.FileType.NotFound:
                raise DataError(f"{self.url}: nothing is there")
            if top.type == fs.FileType.File:
                return [RemoteFile(_safe(self.url, PurePosixPath(top.path).name), top.size, top.mtime_ns, top.path)]
            found = self._system.get_file_info(fs.FileSelector(self._root, recursive=True))
        base = self._root.rstrip("/") + "/"
        files = [
            RemoteFile(_safe(self.url, info.path.removeprefix(base)), info.size, info.mtime_ns, info.path)
            for info in found
            if info.type == fs.FileType.File
        ]
        if not files:
            raise DataError(f"{self.url}: no file is there")
        return sorted(files, key=lambda file: file.name)

    def download(self, file: RemoteFile, path: Path) -> str | None:
        """Write the file's content to `path`. Returns what differs from what was stored, or None if nothing does.

        Length is always compared. So is the MD5 that S3 gives as ETag of files that were uploaded in one part. The ETag
        of a file that S3 encrypts by a key of KMS looks like an MD5 and is none: then two readings that agree are
        right, and the ETags of this storage are no longer compared.
        """
        md5, etag, length = self._read(file, path)
        if length != file.size:
            return f"{length:,} bytes, expected {file.size:,}"
        if etag is None or etag == md5 or not self._etags_are_md5:
            return None
        if self._other_md5s.get(file.name) == md5:
            self._etags_are_md5 = False
            return None
        self._other_md5s[file.name] = md5
        return f"MD5 {md5}, expected {etag}"

    def _read(self, file: RemoteFile, path: Path) -> tuple[str, str | None, int]:
        digest, length = hashlib.md5(usedforsecurity=False), 0
        with named_errors(self.url), self._system.open_input_stream(file.place, compression=None) as source:
            etag = _etag(source)
            with path.open("wb") as target:
                while piece := source.read(_PIECE_BYTES):
                    digest.update(piece)
                    length += len(piece)
                    target.write(piece)
        return digest.hexdigest(), etag, length


def open_storage(url: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URL, and the URL's path in it. Raises DataError, and OSError as `named_errors`."""
    with named_errors(url):
        try:
            return fs.FileSystem.from_uri(_in_one_request(url))
        except (ValueError, TypeError) as error:
            raise DataError(f"{url}: no address of a storage: {error}") from error


def _in_one_request(url: str) -> str:
    """The URL with an option by which a small file is stored by one request instead of three, where S3 is asked."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def is_archive(url: str) -> bool:
    """True if the URL names an archive by its ending. Pure."""
    return urlsplit(url).path.lower().endswith((".tar", ".tar.gz", ".tgz", ".zip"))


def _etag(source: object) -> str | None:
    metadata: dict[str, bytes] = getattr(source, "metadata", dict)() or {}
    etag = metadata.get("ETag", b"").decode("ascii", "replace").strip('"')
    return etag if len(etag) == 32 and all(char in "0123456789abcdef" for char in etag) else None


def _safe(url: str, name: str) -> str:
    parts = name.split("/")
    # Not isprintable(): macOS writes narrow no-break spaces into names, as in `Photo 9.41\u202fAM.jpg`.
    if not all(parts) or {".", ".."} & set(parts) or not is_one_line(name):
        raise DataError(f"{url}: cannot be copied to a folder: a file is named {name!r}")
    return name


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Makes an OSError of the storage name the URL, with the error number of an unreachable network if it has none."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno is not None and error.filename is not None:  # of the local copy
            raise
        text = " ".join(str(error).split())
        raise OSError(error.errno or errno.ENETUNREACH, text, url) from error
