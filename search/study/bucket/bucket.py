"""One folder of an object storage, as named files that are read and written whole."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import NativeFile, fs

from carcls.dataset.names import is_one_line
from carcls.dataset.object_storage import named_errors, open_storage
from search.errors import StudyError

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one content of a file from another."""

    size: int
    mtime_ns: int


def below(url: str, name: str) -> str:
    """The URL of a folder below another one, whose options follow a question mark. Pure."""
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


class Bucket:
    """The files below one URL. Safe for concurrent use by threads.

    A file appears whole or not at all. All methods raise OSError naming the URL; `get` and `fetch` raise
    FileNotFoundError if there is no such file.
    """

    def __init__(self, url: str) -> None:
        """Raises DataError for a URL that cannot be used."""
        self.url = url
        self._system, root = open_storage(url)
        self._root = root.rstrip("/")
        self._is_local = isinstance(self._system, fs.LocalFileSystem)

    def files(self, under: str = "") -> dict[str, Stamp]:
        """All files below a folder by name, relative to the URL; empty if nothing is there."""
        top = f"{self._root}/{under}" if under else self._root
        selector = fs.FileSelector(top, recursive=True, allow_not_found=True)
        with named_errors(self.url):
            found = self._system.get_file_info(selector)
        base = f"{self._root}/"
        return {
            info.path.removeprefix(base): Stamp(info.size, info.mtime_ns)
            for info in found
            if info.type == fs.FileType.File and not info.path.endswith(".part")
        }

    def stamp(self, name: str) -> Stamp | None:
        """The stamp of one file, or None if it is not there."""
        with named_errors(self.url):
            info = self._system.get_file_info(f"{self._root}/{name}")
        return Stamp(info.size, info.mtime_ns) if info.type == fs.FileType.File else None

    def get(self, name: str) -> bytes:
        """The content of a file."""
        with named_errors(self.url), self._open(name) as source:
            return bytes(source.read())

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        with named_errors(self.url), self._open(name) as source, target.open("wb") as copy:
            while piece := source.read(_PIECE_BYTES):
                copy.write(piece)

    def put(self, name: str, content: bytes | Path) -> None:
        """Store a file, in place of one with that name."""
        place = f"{self._root}/{name}"
        into = f"{place}.part" if self._is_local else place
        with named_errors(self.url):
            if self._is_local:
                self._system.create_dir(place.rpartition("/")[0])
            with self._system.open_output_stream(into, compression=None) as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with content.open("rb") as source:
                        while piece := source.read(_PIECE_BYTES):
                            target.write(piece)
            if self._is_local:
                self._system.move(into, place)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with named_errors(self.url):
            try:
                self._system.delete_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return

    def path_below(self, root: Path, name: str) -> Path:
        """Where a file of a study belongs on this machine. Raises StudyError for a name that would leave `root`."""
        if ".." in PurePosixPath(name).parts or name.startswith("/") or not is_one_line(name):
            raise StudyError(f"{self.url}: not a file of a study: {name!r}")
        return root / name

    def _open(self, name: str) -> NativeFile:
        return self._system.open_input_stream(f"{self._root}/{name}", compression=None)
