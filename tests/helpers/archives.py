"""Zip and tar archives in memory, and unpacking them."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from carcls.archives.unpack import Unpacked, unpack
from carcls.errors import DataError


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def found(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def unpacked(root: Path, *named: tuple[str, bytes], replace: bool = False) -> Unpacked:
    """Writes the archives beside `root` and unpacks them."""
    paths = []
    for name, content in named:
        (root.parent / name).write_bytes(content)
        paths.append(root.parent / name)
    return unpack(paths, root, replace=replace, on_bytes=lambda done, total: None)


PHOTOS = {"train/0/1.jpg": b"one", "train/10/2.jpg": b"two" * 9}


def refused(root: Path, name: str, content: bytes, *words: str) -> None:
    """Asserts an error that names archive, entry and reason, and an unchanged folder."""
    before = found(root)
    with pytest.raises(DataError) as error:
        unpacked(root, (name, content))
    for word in (name, *words):
        assert word in str(error.value)
    assert found(root) == before
    assert not (root / ".carsearch-unpack").exists()
    (root.parent / name).unlink()
    assert {path.name for path in root.parent.iterdir()} <= {root.name}
