"""A file appears under its name whole or not at all, and stays there through a power cut."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, with its suffix, to write to; the file moves to `path` when the block ends well.

    After an error `path` is as it was and nothing is left beside it. The folder is made where it is missing. Raises
    OSError where the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are for their owner's eyes only, whatever the umask says.
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """`text` in UTF-8, its line ends as they are. Raises OSError where the disk refuses."""
    with published(path) as temporary:
        # surrogateescape: a folder may hold names that are no UTF-8, and they must be written too
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def sync(path: Path) -> None:
    """A file's content, or a folder's names, reach the disk before this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
