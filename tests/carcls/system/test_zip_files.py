"""Sizes declared by zip and .npz files are checked before memory is allocated."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings

from carcls.errors import CheckpointError
from carcls.system.zip_files import npy_entry, opened_zip, regular_size
from carcls.training.checkpoint import load_state, read_meta, save_state
from tests.helpers.mutations import mutated, refusal


def npy(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    """A .npy entry that declares a shape and dtype, with any content."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def zipped(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def overlapping(path, copies: int, content: bytes):
    """A zip with many entries that share the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("0000.npy", content)
        info = archive.infolist()[0]
        for number in range(1, copies):
            other = zipfile.ZipInfo(f"{number:04d}.npy")
            other.header_offset, other.CRC = info.header_offset, info.CRC
            other.compress_size = other.file_size = info.file_size
            archive.filelist.append(other)
        archive._didModify = True
    path.write_bytes(buffer.getvalue())
    return path


def entry_of(path, name="x.npy"):
    with opened_zip(path) as (archive, entries):
        return npy_entry(archive, entries[name]).read()


def test_arrays_of_every_kind_round_trip(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3), "y": np.array(True), "z": np.zeros((0, 3), np.float16)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        for key, array in arrays.items():
            found = entry_of(tmp_path / "a.npz", f"{key}.npy")
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((10**9,), "<f8", bytes(8)), r"claims float64 of shape \(1000000000,\), but has 8 bytes"),
        (npy((2**40, 2**40), "<f8", bytes(8)), "claims float64"),
        (npy((-1,), "<f8", b""), r"an array of shape \(-1,\)"),
        (npy((2,), "<f8", bytes(17)), "has 17 bytes"),
        (npy((1,), "|O", bytes(8)), "allow_pickle"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "version"),
        (b"no array", "magic string"),
    ],
)
def test_an_entry_that_is_not_what_it_claims_is_refused_unread(tmp_path, content, message):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = zipped(tmp_path / "a.npz", {"x.npy": content}, method)
        with pytest.raises(ValueError, match=message):
            entry_of(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    content = npy((1000,), "<f8", bytes(8000))
    path = overlapping(tmp_path / "a.npz", 400, content)
    assert path.stat().st_size < 50_000  # for 3.2 MB
    with pytest.raises(ValueError, match=r"'0001\.npy' shares its bytes with another"):
        entry_of(path, "0000.npy")
    assert len(entry_of(overlapping(path, 1, content), "0000.npy")) == 1000


def test_a_duplicate_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy((1,), "<f8", bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy((1,), "<f8", bytes(8)))
    with pytest.raises(ValueError, match="a name occurs twice"):
        entry_of(tmp_path / "a.npz")


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="not a regular file"):
            regular_size(path)
    (tmp_path / "file").write_bytes(b"12345")
    assert regular_size(tmp_path / "file") == 5


META = b'{"epoch": 3}'


@pytest.mark.parametrize(
    "entries",
    [
        {"x.npy": npy((10**10,), "<f8", bytes(8)), "meta.json": META},
        {"x.npy": npy((1,), "<U1", bytes(4)), "meta.json": META},
        {"x.npy": npy((1,), "|V8", bytes(8)), "meta.json": META},
        {"x.npy": b"\x93NUMPY\x01\x00\x05\x00((((\n", "meta.json": META},
        {"x.npy": b"\x93NUMPY\x01\x00\xff\x1f" + b"(" * 0x1FFF, "meta.json": META},
        {"meta.json": b"[" * 100_000},
        {"meta.json": b"[1]"},
        {"x.npy": npy((1,), "<f8", bytes(8))},
    ],
)
def test_a_hostile_checkpoint_is_refused(tmp_path, entries):
    path = zipped(tmp_path / "epoch-0001.npz", entries)
    with pytest.raises(CheckpointError, match=r"epoch-0001\.npz: not a complete checkpoint"):
        load_state(path)


@pytest.mark.parametrize("read", [load_state, read_meta])
def test_overlapping_entries_and_pipes_are_refused_as_checkpoints(tmp_path, read):
    path = overlapping(tmp_path / "a.npz", 100, npy((1000,), "<f8", bytes(8000)))
    with pytest.raises(CheckpointError, match="shares its bytes"):
        read(path)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read(tmp_path / "pipe.npz")


def test_a_checkpoint_damaged_anywhere_is_refused_or_the_same(tmp_path):
    """Bits that are never read may change: a date, or a flag of the zip format."""
    arrays, meta = {"model/a": np.arange(50, dtype=np.float32), "model/b": np.eye(4)}, {"epoch": 3, "note": "x"}
    path = tmp_path / "epoch-0003.npz"
    save_state(path, arrays, meta)
    whole = path.read_bytes()

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(mutated((whole,)))
    def damage(content):
        path.write_bytes(content)
        found = []
        if refusal(CheckpointError, lambda: found.append(load_state(path))) is None:
            [(loaded, told)] = found
            assert json.dumps(told) == json.dumps(meta)
            assert {key: value.tolist() for key, value in loaded.items()} == {
                key: value.tolist() for key, value in arrays.items()
            }

    damage()
