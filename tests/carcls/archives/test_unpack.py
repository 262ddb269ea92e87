"""Archives are unpacked as intended, and nothing is ever written outside the folder."""

import errno
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carcls.archives import staged_files
from carcls.archives import unpack_budget as archive_budget
from carcls.archives.unpack import Unpacked, unpack
from carcls.errors import DataError
from tests.helpers.archives import PHOTOS, found, tarred, unpacked, zipped


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zipped(PHOTOS)),
        ("a.tar", tarred(PHOTOS, "w")),
        ("a.tar.gz", tarred(PHOTOS, "w:gz")),
        ("a.tar.bz2", tarred(PHOTOS, "w:bz2")),
        ("a.tar.xz", tarred(PHOTOS, "w:xz")),
        ("wrong-name.rar", zipped(PHOTOS)),
        ("zip-at-its-end.tar", tarred({**PHOTOS, "inner.zip": zipped({"b.txt": b"b"})}, "w")),
    ],
)
def test_every_kind_of_archive(root, name, content):
    end = unpacked(root, (name, content))
    expected = {**PHOTOS, "b.txt": b"b"} if name.startswith("zip-at") else PHOTOS
    assert found(root) == expected
    assert end == Unpacked(written=len(expected), kept=0, byte_count=sum(map(len, expected.values())))


def test_the_contests_archives_with_and_without_their_folder(root):
    """Both forms exist: photos below train/ in train.zip, and class folders at its top level."""
    test = {"3.jpg": b"3", "4.jpg": b"4"}
    expected = {**PHOTOS, "test_upload/3.jpg": b"3", "test_upload/4.jpg": b"4"}
    bare = {path.removeprefix("train/"): content for path, content in PHOTOS.items()}
    unpacked(root, ("train.zip", zipped(bare)), ("test.zip", zipped(test)))
    assert found(root) == expected
    foldered = {f"test_upload/{name}": content for name, content in test.items()}
    end = unpacked(root, ("train.zip", zipped(PHOTOS)), ("test.zip", zipped(foldered)))
    assert found(root) == expected
    assert (end.written, end.kept) == (0, 4)


def test_the_whole_contest_in_one_zip_of_zips(root):
    bare = {path.removeprefix("train/"): content for path, content in PHOTOS.items()}
    outer = {"train.csv": b"Id,Category\n", "train.zip": zipped(bare), "test.zip": zipped({"test_upload/3.jpg": b"3"})}
    unpacked(root, ("sf-dl-car-classification.zip", zipped(outer)))
    assert found(root) == {**PHOTOS, "train.csv": b"Id,Category\n", "test_upload/3.jpg": b"3"}


def test_a_train_zip_that_holds_the_whole_data_folder_is_not_moved(root):
    files = {"labels.csv": b"path,label\n", "photos/1.jpg": b"1"}
    unpacked(root, ("train.zip", zipped(files)))
    assert found(root) == files


def test_nesting_of_archives_is_limited(root):
    content = zipped({"a.txt": b"a"})
    for _ in range(2):
        content = zipped({"more/inner.zip": content})
    unpacked(root, ("a.zip", content))
    assert found(root) == {"more/more/a.txt": b"a"}
    with pytest.raises(DataError, match=r"b\.zip > .*nested 4 archives deep"):
        unpacked(root, ("b.zip", zipped({"inner.zip": content})))


def test_names_in_cyrillic_however_they_were_written(root):
    """With the UTF-8 flag; UTF-8 without it, as old macOS wrote; and cp866, as Windows in Russian writes."""
    unpacked(root, ("flag.zip", zipped({"Лада Приора/1.jpg": b"1"})))
    for name, encoding in (("Нива", "utf-8"), ("Калина", "cp866")):
        content = zipped({"X" * len(name.encode(encoding)): b"2"}).replace(
            b"X" * len(name.encode(encoding)), name.encode(encoding)
        )
        unpacked(root, (f"{encoding}.zip", content))
    assert set(found(root)) == {"Лада Приора/1.jpg", "Нива", "Калина"}


def test_system_files_of_macos_and_windows_are_ignored(root):
    files = {"0/1.jpg": b"1", "__MACOSX/0/._1.jpg": b"x", "0/.DS_Store": b"x", "0/Thumbs.db": b"x"}
    unpacked(root, ("a.zip", zipped(files)))
    assert found(root) == {"0/1.jpg": b"1"}


def test_nested_archives_are_copied_under_their_own_numbers(root, monkeypatch):
    files = {f"{number}/in.zip": zipped({f"{number}.jpg": b"%d" % number}) for number in range(300)}
    assert (
        unpacked(root, ("a.zip", zipped(files)), ("b.zip", zipped({"in.zip": zipped({"x.jpg": b"x"})}))).written == 301
    )
    assert found(root) == {f"{n}/{n}.jpg": b"%d" % n for n in range(300)} | {"x.jpg": b"x"}
    monkeypatch.setattr(archive_budget, "MAX_ARCHIVES", 299)
    with pytest.raises(DataError, match=r"a\.zip: more than 299 archives inside it"):
        unpacked(root, ("a.zip", zipped(files)))


def test_a_missing_archive_is_named(root):
    with pytest.raises(DataError, match=r"absent\.zip: no such file"):
        unpack([root.parent / "absent.zip"], root, replace=False, on_bytes=lambda done, total: None)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_existing_files_are_kept_refused_or_replaced(root, pack):
    unpacked(root, ("a.pack", pack({"0/1.jpg": b"old", "0/2.jpg": b"two"})))
    news = ("a.pack", pack({"0/1.jpg": b"new", "0/2.jpg": b"two"}))
    with pytest.raises(DataError, match=r"a\.pack: '0/1\.jpg' differs .* --replace"):
        unpacked(root, news)
    assert found(root) == {"0/1.jpg": b"old", "0/2.jpg": b"two"}
    assert unpacked(root, news, replace=True) == Unpacked(written=1, kept=1, byte_count=6)
    assert found(root) == {"0/1.jpg": b"new", "0/2.jpg": b"two"}


def test_links_that_stand_in_the_folder_are_never_written_through(root):
    outside = root.parent / "outside"
    outside.mkdir()
    root.mkdir()
    (root / "train").symlink_to(outside)
    with pytest.raises(DataError, match=r"would be written through the link"):
        unpacked(root, ("a.zip", zipped(PHOTOS)))
    (root / "train").unlink()
    (root / "1.jpg").symlink_to(outside / "1.jpg")
    with pytest.raises(DataError, match=r"would replace the link"):
        unpacked(root, ("a.zip", zipped({"1.jpg": b"evil"})), replace=True)
    assert list(outside.iterdir()) == []


def test_an_interrupted_call_is_finished_by_the_next(root):
    class CutError(Exception):
        pass

    def cut(done: int, total: int) -> None:
        raise CutError

    (root.parent / "a.zip").write_bytes(zipped(PHOTOS))
    with pytest.raises(CutError):
        unpack([root.parent / "a.zip"], root, replace=False, on_bytes=cut)
    assert found(root) == {"train/0/1.jpg": b"one"}
    (root / ".carsearch-unpack").mkdir()
    (root / ".carsearch-unpack" / "part").write_bytes(b"half of a photo")  # left over after SIGKILL
    assert unpacked(root, ("a.zip", zipped(PHOTOS))) == Unpacked(written=1, kept=1, byte_count=30)
    assert found(root) == PHOTOS


def test_no_file_has_its_name_before_its_content_is_on_the_disk(root, monkeypatch):
    monkeypatch.setattr(staged_files, "FILES_AT_ONCE", 2)
    photos = {f"train/0/{number}.jpg": bytes([number]) * 9 for number in range(5)}
    (root.parent / "a.zip").write_bytes(zipped(photos))
    flushed: list[tuple[set[bytes], set[str]]] = []

    def flush(folder: Path) -> None:
        staged = {path.read_bytes() for path in folder.glob("part-*") if path.parent == folder}
        flushed.append((staged, {name for name in found(root) if name.startswith("train/")}))

    unpack([root.parent / "a.zip"], root, replace=False, on_bytes=lambda *_: None, flush=flush)
    names, contents = list(photos), list(photos.values())
    assert flushed == [
        (set(contents[:2]), set()),
        (set(contents[2:4]), set(names[:2])),
        (set(contents[4:]), set(names[:4])),
        (set(), set(names)),  # the names themselves
    ]


def test_no_file_gets_its_name_if_the_flush_fails(root):
    def refuse(folder: Path) -> None:
        raise OSError(errno.EIO, "bad block", str(folder))

    (root.parent / "a.zip").write_bytes(zipped(PHOTOS))
    with pytest.raises(OSError, match="bad block"):
        unpack([root.parent / "a.zip"], root, replace=False, on_bytes=lambda *_: None, flush=refuse)
    assert found(root) == {}


def test_a_file_system_is_flushed_and_a_missing_folder_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    staged_files.sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        staged_files.sync_filesystem(tmp_path / "absent")


def test_the_same_file_in_two_archives_is_one_file(root):
    packs = [("a.zip", zipped({"1.jpg": b"one"})), ("b.zip", zipped({"1.jpg": b"one", "2.jpg": b"two"}))]
    assert unpacked(root, *packs) == Unpacked(written=2, kept=1, byte_count=9)
    assert found(root) == {"1.jpg": b"one", "2.jpg": b"two"}


def test_progress_ends_at_the_total(root):
    (root.parent / "a.zip").write_bytes(zipped(PHOTOS))
    told = []
    unpack([root.parent / "a.zip"], root, replace=False, on_bytes=lambda *both: told.append(both))
    assert told == [(3, 30), (30, 30)]


PIECES = st.sampled_from(["..", ".", "", "a", "A", "root", "é", "e\u0301", "C:", "\\", "..\\x", "~", "Ж" * 130, "\n"])
HOSTILE = st.lists(PIECES | st.text(max_size=4), max_size=5).map("/".join)


@given(st.lists(st.tuples(HOSTILE, st.booleans()), min_size=1, max_size=5), st.booleans())
@example([("link", True), ("link/evil", False)], True)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_ever_appears_outside_the_folder(tmp_path_factory, entries, as_tar):
    """Names of every kind, and links between them: everything written is inside the folder, or nothing is written."""
    outer = tmp_path_factory.mktemp("outer")
    root = outer / "deep" / "root"
    root.mkdir(parents=True)
    pack = outer / "a.pack"
    try:
        with tarfile.open(pack, "w") if as_tar else zipfile.ZipFile(pack, "w") as archive:
            for name, is_link in entries:
                if isinstance(archive, zipfile.ZipFile):
                    info = zipfile.ZipInfo(name)
                    info.external_attr = (0o120777 if is_link else 0o100644) << 16
                    archive.writestr(info, ".." if is_link else "evil")
                else:
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = (tarfile.SYMTYPE, "..") if is_link else (tarfile.REGTYPE, "")
                    archive.addfile(entry)
    except (UnicodeEncodeError, ValueError):
        return  # a name that cannot even be packed
    before = {path for path in outer.rglob("*") if root not in path.parents}
    try:
        unpack([pack], root, replace=True, on_bytes=lambda done, total: None)
    except DataError:
        assert not list(root.iterdir())  # refused as a whole
    assert {path for path in outer.rglob("*") if root not in path.parents} == before
    assert all(root.resolve() in path.resolve().parents for path in root.rglob("*"))
