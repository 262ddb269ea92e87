"""Hostile and broken archives are rejected before anything is written."""

import io
import struct
import tarfile
import zipfile

import pytest

from carcls.archives import unpack as archives
from carcls.archives import unpack_budget as archive_budget
from carcls.errors import DataError
from tests.carcls.system.test_zip_files import overlapping
from tests.helpers.archives import PHOTOS, refused, tarred, unpacked, zipped


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("../evil", "'..'"),
        ("train/../../evil", "'..'"),
        ("/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("c:evil", "absolute"),
        ("..\\evil", "backslash"),
        ("a\x00.jpg", "control"),
        ("a\n.jpg", "control"),
        ("x" * 256, "over 255 bytes"),
        ("Ж" * 128, "over 255 bytes"),
        ("/".join(["x" * 200] * 6), "1024 with folders"),
    ],
)
def test_hostile_names_are_refused_before_anything_is_written(root, entry, reason):
    hostile = entry.replace("\x00", "0")
    content = zipped({"good.jpg": b"good", hostile: b"evil"}).replace(hostile.encode(), entry.encode())
    refused(root, "a.zip", content, reason, repr(entry)[1:20])
    if "\x00" not in entry:  # tar ends a name there
        refused(root, "a.tar.gz", tarred({"good.jpg": b"good", entry: b"evil"}), reason)
    refused(root, "b.zip", zipped({"good.txt": b"good", "in.zip": content}), "b.zip > in.zip", reason)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_pipes_and_devices_in_a_tar_are_refused(root, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("0/link.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refused(root, "a.tar", buffer.getvalue(), "0/link.jpg", "a link, pipe or device")


def test_links_in_a_zip_are_refused(root):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("0")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc")
        archive.writestr("0/passwd", "evil")
    refused(root, "a.zip", buffer.getvalue(), "'0'", "a link")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (["a.jpg", "A.jpg"], "only by case"),
        (["é.jpg", "e\u0301.jpg"], "Unicode form"),
        (["train/1.jpg", "Train/2.jpg"], "only by case"),
        (["a", "a/b"], "a file and a folder"),
        ([".carsearch-unpack/part"], "a file and a folder"),
    ],
)
def test_names_that_are_one_file_elsewhere_are_refused(root, entries, reason):
    refused(root, "a.zip", zipped(dict.fromkeys(entries, b"x")), reason)


def test_a_duplicate_name_in_an_archive_is_refused(root):
    content = zipped({"a.jpg": b"1", "b.jpg": b"2"}).replace(b"b.jpg", b"a.jpg")
    refused(root, "a.zip", content, "'a.jpg' occurs twice")


def test_bombs_are_refused(root):
    refused(root, "a.zip", zipped({"zeros": bytes(80 * 2**20)}), "decompression bomb", "'zeros'")
    refused(root, "a.tar.gz", tarred({"zeros": bytes(80 * 2**20)}), "decompression bomb")
    nested = zipped({"a.zip": zipped({"zeros": bytes(80 * 2**20)})})
    refused(root, "b.zip", nested, "b.zip > a.zip", "decompression bomb")


def test_nested_archives_share_the_outermost_budget(root):
    """Each is below the 64 MB from which ratios are checked; together they are not."""
    inner = zipped({"zeros": bytes(30 * 2**20)})
    several = zipped({f"{number}.zip": inner for number in range(3)})
    assert len(several) < 100_000
    refused(root, "a.zip", several, "a.zip > 2.zip", "outermost archive", "decompression bomb")
    deeper = zipped({f"{number}.zip": zipped({"in.zip": inner}) for number in range(3)})
    refused(root, "b.zip", deeper, "b.zip > 2.zip > in.zip", "decompression bomb")
    two = zipped({f"{number}.zip": zipped({f"{number}.txt": bytes(30 * 2**20)}) for number in range(2)})
    assert unpacked(root, ("c.zip", two), ("d.zip", two)).written == 2


def test_folders_and_litter_count_too(root, monkeypatch):
    monkeypatch.setattr(archive_budget, "MAX_ENTRIES", 50)
    for names in ([f"{number}/" for number in range(51)], [f"__MACOSX/{number}" for number in range(51)]):
        refused(root, "a.zip", zipped(dict.fromkeys(names, b"")), "more than 50 files and folders")
    inner = zipped({f"{number}.jpg": b"" for number in range(20)})
    refused(root, "b.zip", zipped({f"{number}/in.zip": inner for number in range(3)}), "more than 50", "2/in.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_python_unpacks_without_bound_are_refused(root, method):
    """40 bytes of bzip2 unpack to 45 MB, whatever the entry declares, and Python unpacks 4 KB at once."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.jpg", bytes(10**6))
    refused(root, "a.zip", buffer.getvalue(), "'a.jpg' is compressed by method", "unpack it by hand")


def test_entries_that_share_their_bytes_are_refused(root, tmp_path):
    shared = overlapping(tmp_path / "shared", 50, bytes(1000)).read_bytes()
    refused(root, "a.zip", shared, "shares its bytes with another")


def test_more_than_the_disk_holds_is_refused(root, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10)
    with pytest.raises(DataError, match="unpack to 11 bytes"):
        unpacked(root, ("a.zip", zipped({"a": b"12345678901"})))


def test_an_entry_longer_than_it_claims_is_refused(root):
    content = zipped({"a.jpg": b"x" * 500})
    size = struct.pack("<I", 500)
    assert content.count(size) == 2
    with pytest.raises(DataError, match=r"a\.zip: .*(broken|claims)"):
        unpacked(root, ("a.zip", content.replace(size, struct.pack("<I", 400))))
    assert not root.exists()


def test_encrypted_entries_are_refused(root):
    content = bytearray(zipped({"a.jpg": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    refused(root, "a.zip", bytes(content), "'a.jpg' is encrypted")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"PK",
        pytest.param(zipped(PHOTOS)[:-30], id="zip cut"),
        pytest.param(tarred(PHOTOS)[:60], id="tar cut"),
    ],
)
def test_broken_archives_are_refused(root, content):
    refused(root, "a.zip", content, "download it again")


def test_damaged_content_is_named_and_never_appears(root):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"photo " * 50)
    with pytest.raises(DataError, match=r"a\.zip: broken or truncated: Bad CRC-32 for file 'a\.jpg'"):
        unpacked(root, ("a.zip", buffer.getvalue().replace(b"photo photo", b"photo phXto", 1)))
    assert not root.exists()
