"""Names in old code pages: one encoding for the whole archive, which is reported, and no silent guesses."""

import io
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.archives.entry_names import decode_names
from carcls.archives.unpack import unpack
from carcls.errors import DataError

NAMES = {
    "cp866": [
        ("Лада Калина/1.jpg", "Нива/2.jpg"),
        ("лада/1.jpg",),
        ("ВАЗ-2110/1.jpg",),
        ("нива/й.jpg", "приора/2.jpg"),
    ],
    "cp1251": [("Лада Калина/1.jpg", "Ока/2.jpg"), ("лада/1.jpg",), ("ЛАДА/1.jpg",), ("Форд Фокус/й.jpg", "Ока/1.jpg")],
    "gbk": [("大众/1.jpg", "奥迪/2.jpg"), ("比亚迪/1.jpg",), ("红旗轿车/照片.jpg",)],
    "cp932": [("トヨタ/1.jpg",), ("日産/1.jpg", "本田/2.jpg"), ("表示ソ/1.jpg",)],
    "cp1252": [("Citroën C4/1.jpg",), ("Škoda/1.jpg",)],
    "cp437": [("Citroën C4/1.jpg",), ("Münch/1.jpg",)],
}
CASES = [(coding, names) for coding, cases in NAMES.items() for names in cases]


def zipped(coding: str, names: tuple[str, ...], extra: bytes = b"") -> bytes:
    """Each file's content is its name. Clears the UTF-8 flag, which Python sets for non-ASCII names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(chr(ord("A") + number) * len(name.encode(coding)))
            info.extra = extra
            archive.writestr(info, name.encode())
    content = file.getvalue()
    for number, name in enumerate(names):
        raw = name.encode(coding)
        content = content.replace((chr(ord("A") + number) * len(raw)).encode(), raw)
    return content


def tarred(coding: str, names: tuple[str, ...]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding=coding) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name.encode())
            archive.addfile(info, io.BytesIO(name.encode()))
    return file.getvalue()


def unpacked(tmp_path, content: bytes, **options):
    (tmp_path / "a.pack").write_bytes(content)
    end = unpack([tmp_path / "a.pack"], tmp_path / "root", replace=False, on_bytes=lambda *_: None, **options)
    files = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    return {path.relative_to(tmp_path / "root").as_posix(): path.read_text() for path in files}, end.notes


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(("coding", "names"), CASES)
def test_names_of_an_archive_are_read_in_the_one_coding_that_makes_sense(tmp_path, coding, names, pack):
    found, notes = unpacked(tmp_path, pack(coding, names))
    assert found == {name: name for name in names}
    [note] = notes
    assert note.startswith(f"a.pack: file names are read as {coding}, such as {names[0]!r}; set another")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CASES), st.lists(st.sampled_from(["a/1.jpg", "Niva.jpg", "x_y/2.jpg"]), max_size=3))
def test_one_class_never_becomes_two(case, others):
    """Equal names decode equally regardless of other names, and all names use one encoding."""
    coding, names = case
    raws = [name.encode(coding) for name in (*names, *others, *names)]
    read, _ = decode_names(raws, None)
    assert read == [*names, *others, *names]


def test_the_users_encoding_is_used(tmp_path):
    found, notes = unpacked(tmp_path, zipped("koi8-r", ("Лада/1.jpg",)), encoding="koi8-r")
    assert (set(found), notes) == ({"Лада/1.jpg"}, ())


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_in_utf_8_need_no_word(tmp_path, pack):
    assert unpacked(tmp_path, pack("utf-8", ("Лада/1.jpg", "日産/2.jpg"))) == (
        {"Лада/1.jpg": "Лада/1.jpg", "日産/2.jpg": "日産/2.jpg"},
        (),
    )


def test_a_unicode_name_beside_the_old_one_is_used(tmp_path):
    name, raw = "Škoda Жигули.jpg", "?koda ??????.jpg".replace("?", "\xdb").encode("cp1252")
    body = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    content = zipped("cp1252", (raw.decode("cp1252"),), struct.pack("<HH", 0x7075, len(body)) + body)
    found, notes = unpacked(tmp_path, content)
    assert (set(found), notes) == ({name}, ())


def test_names_without_a_plausible_encoding_are_reported(tmp_path):
    raw = "\u2591\u2592\u2591\xa0.jpg"  # box-drawing characters, of unknown meaning
    found, [note] = unpacked(tmp_path, zipped("cp437", (raw,)))
    assert set(found) == {raw}
    assert note.startswith("a.pack: the encoding of its file names is unknown; they are read as cp437, such as")
    assert note.endswith("set another one with --encoding")


def test_a_wrong_encoding_is_an_error_and_nothing_is_unpacked(tmp_path):
    message = r"a.pack: the name b'\\xcb.*' is not valid utf-8; set another encoding with --encoding"
    with pytest.raises(DataError, match=message):
        unpacked(tmp_path, zipped("cp1251", ("Лада/1.jpg",)), encoding="utf-8")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("bad", ["../Лада.jpg", "/Лада.jpg", "Лада/../../x.jpg", "Ла\x1bда.jpg"])
def test_names_are_checked_as_they_are_read(tmp_path, bad):
    for pack in (zipped, tarred):
        with pytest.raises(DataError, match="rejected because of its entry"):
            unpacked(tmp_path, pack("cp1251", (bad, "Лада/1.jpg")))


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_any_bytes_give_names(raws):
    read, note = decode_names(raws, None)
    assert len(read) == len(raws)
    assert all(name.encode("utf-8", "surrogatepass") for name in read)
    assert note or all(name.encode() == raw for name, raw in zip(read, raws, strict=True))
