"""Hostile tar headers use neither unbounded memory nor time, and valid ones are read correctly."""

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from carcls.archives.members import read_members
from carcls.archives.tar import MAX_GLOBAL_SETTINGS, MAX_HEADER_BYTES
from carcls.errors import DataError

MIB = 2**20
CLAIMED_MIB = 256
BOUND_MIB = 8
"""Memory limit for reading, regardless of the declared sizes."""


def header(kind: bytes, size: int, name: str = "bomb") -> bytes:
    """One block. Negative sizes use the format's binary numbers."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = max(size, 0)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-tarfile.BLOCKSIZE :])
    if size < 0:
        block[124:136] = (2**96 + size).to_bytes(12, "big")
        block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    return bytes(block)


def repeated(piece: bytes, mib: int = CLAIMED_MIB) -> bytes:
    """Gzip of so many MiB of a repeated block, built from one MiB."""
    return gzip.compress(piece * (MIB // len(piece)), 1) * mib


def pax(records: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    content = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
        content += str(length).encode() + rest
    return header(kind, len(content)) + content.ljust(-(-len(content) // 512) * 512, b"\0")


def refused(tmp_path: Path, content: bytes, *words: str) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            read_members(tmp_path / "a.tar.gz", "a.tar.gz")
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    for word in ("a.tar.gz", *words):
        assert word in str(error.value)
    assert taken < BOUND_MIB * MIB


@pytest.mark.parametrize("size", [CLAIMED_MIB * MIB, 2**40, -512])
@pytest.mark.parametrize(
    "kind",
    [
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    ],
)
def test_a_header_that_claims_much_is_refused_unread(tmp_path: Path, kind: bytes, size: int) -> None:
    good = header(tarfile.REGTYPE, 0, "good.jpg")
    bomb = gzip.compress(header(kind, size)) + repeated(b"0" * 512)
    refused(tmp_path, bomb, "its first entry", f"{MAX_HEADER_BYTES:,} bytes", "decompression bomb")
    refused(tmp_path, gzip.compress(good) + bomb, "the entry after 'good.jpg'", "decompression bomb")


def test_maps_of_sparse_files_without_end_are_refused(tmp_path: Path) -> None:
    old = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    old[482] = 1  # a block of its map follows
    old[148:156] = b"%06o\0 " % (256 + sum(old[:148]) + sum(old[156:]))
    more = b"00000000001\0" * 42 + b"\1" + b"\0" * 7  # and another
    refused(tmp_path, gzip.compress(bytes(old)) + repeated(more), "decompression bomb")

    new = pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"})
    new += header(tarfile.REGTYPE, 512) + b"999999999\n" + b"1\n" * 251
    refused(tmp_path, gzip.compress(new) + repeated(b"1\n"), "decompression bomb")


def test_a_sparse_file_is_refused_by_name(tmp_path: Path) -> None:
    refused(tmp_path, gzip.compress(header(tarfile.GNUTYPE_SPARSE, 0, "a.csv")), "'a.csv'", "without --sparse")


@pytest.mark.parametrize("name", ["a.jpg", "__MACOSX/a.jpg"])
def test_a_negative_size_that_leads_back_is_refused(tmp_path: Path, name: str) -> None:
    back = header(tarfile.REGTYPE, -512, name)
    refused(tmp_path, gzip.compress(back + bytes(1024)), f"broken at {name!r}")
    hidden = pax({"size": "0"}, tarfile.XGLTYPE) + back
    refused(tmp_path, gzip.compress(hidden + bytes(1024)), f"broken at {name!r}")


def test_headers_for_headers_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, gzip.compress(pax({"comment": "x"}) * 2000), "a.tar.gz")


def test_global_headers_are_limited(tmp_path: Path) -> None:
    good = header(tarfile.REGTYPE, 0, "good.jpg")
    few = pax({f"key{number}": "x" for number in range(MAX_GLOBAL_SETTINGS)}, tarfile.XGLTYPE)
    (tmp_path / "few.tar").write_bytes(few + good + bytes(1024))
    assert [member.path for member in read_members(tmp_path / "few.tar", "few.tar")] == ["good.jpg"]
    refused(tmp_path, gzip.compress(pax({"one": "more"}, tarfile.XGLTYPE) + few + good), "global headers", "good.jpg")


def test_ignored_entries_count_as_unpacked(tmp_path: Path) -> None:
    litter = header(tarfile.REGTYPE, 2**33 - 1, "__MACOSX/a.jpg")
    refused(tmp_path, gzip.compress(litter), "declares more than", "'__MACOSX/a.jpg'")


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_honest_long_names_and_notes_are_read(tmp_path: Path, format_: int, opener: Callable[..., io.IOBase]) -> None:
    names = ["Лада Приора/" * 20 + f"{number}.jpg" for number in range(3)]
    notes = {"comment": "c" * 9000, "SCHILY.xattr.user.a": "x" * 65536}
    with opener(tmp_path / "a.tar", "wb") as file, tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 700, notes
            archive.addfile(info, io.BytesIO(bytes(700)))
    found = read_members(tmp_path / "a.tar", "a.tar")
    assert [(member.path, member.byte_count) for member in found] == [(name, 700) for name in names]
