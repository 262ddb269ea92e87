"""Any bytes in a data folder or archive give a result or a DataError, and nothing is written outside the folder."""

import io
import tarfile
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carcls.archives.unpack import unpack
from carcls.dataset.layouts import Layout
from carcls.dataset.loading import check_trainable, load_dataset
from carcls.dataset.table import Dataset
from carcls.errors import DataError
from carcls.inspection.folder_check import class_rows
from carcls.photos.photo import MAX_PIXELS, decode_bytes, preview_bytes
from carcls.splits.split import make_split
from carcls.splits.split_files import read_split, write_split
from tests.helpers.mutations import mutated, refusal
from tests.helpers.photos.hostile import photo

FUZZ = settings(max_examples=200, deadline=None, derandomize=True)
"""Uses the same examples each time. Another thousand were tried when this was written."""

KINDS = (("JPEG", "RGB"), ("PNG", "RGB"), ("BMP", "RGB"), ("WEBP", "RGB"), ("PNG", "LA"), ("WEBP", "RGBA"))
PHOTOS = tuple(photo(*kind) for kind in KINDS)
LABELS = (
    b"Id,Category\n1.jpg,0\n2.jpg,0\n3.jpg,10\n4.jpg,10\n",
    b'\xef\xbb\xbf"Id";"Category"\r\n"1.jpg";"0"\r\n"2.jpg";"10"\r\n',
)
SAMPLE = b"Id,Category\n9.jpg,0\n8.jpg,0\n"


@FUZZ
@given(mutated(PHOTOS))
def test_a_damaged_photo_decodes_or_gives_a_reason(data):
    for decode in (decode_bytes, preview_bytes):
        found = []
        if refusal(DataError, lambda decode=decode, found=found: found.append(decode(data))) is None:
            image = found[0] if isinstance(found[0], np.ndarray) else found[0].image
            assert image.dtype == np.uint8
            assert 0 < image.size <= 3 * MAX_PIXELS


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labels") / "data"
    for number, name in enumerate(
        ("train/0/1", "train/0/2", "train/10/3", "train/10/4", "test_upload/8", "test_upload/9")
    ):
        path = root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo("JPEG", quality=40 + number))
    return root


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@FUZZ
@given(labels=mutated(LABELS), sample=st.just(SAMPLE) | mutated((SAMPLE,)))
@example(labels=b"Id,Category\n../../../outside.jpg,0\n1.jpg,../../\n", sample=SAMPLE)
@example(labels=b"Id,Category\n" + b'"1.jpg","0"\n' * 3 + b'"', sample=SAMPLE)
@example(labels=LABELS[0], sample=b"Id,Category\n../train/0/1.jpg,0\n")
def test_damaged_labels_give_a_dataset_or_an_error_with_the_file(root, labels, sample):
    (root / "train.csv").write_bytes(labels)
    (root / "sample-submission.csv").write_bytes(sample)
    before = files(root.parent)
    found: list[Dataset] = []

    def load():
        found.append(load_dataset(root, processes=1))
        check_trainable(found[0])

    reason = refusal(DataError, load)
    if reason is not None:
        assert str(root) in reason
        refusal(DataError, lambda: class_rows(root, Layout()))
        assert files(root.parent) == before
        return
    dataset = found[0]
    inside = root.resolve()
    for table in (dataset.train, dataset.test):
        assert all(inside in (root / path).resolve().parents for path in table.paths)
    with suppress(DataError):  # too few photos of a class
        split = make_split(dataset, fraction=0.5, seed=0)
        write_split(split, root.parent / "split.csv")
        assert read_split(root.parent / "split.csv", root) == split
    (root.parent / "split.csv").unlink(missing_ok=True)
    assert files(root.parent) == before


def packed(kind: str) -> bytes:
    content = {"train/0/1.jpg": b"one" * 20, "train.csv": b"Id,Category\n1.jpg,0\n", "test/é.jpg": b"two"}
    buffer = io.BytesIO()
    if kind.startswith("zip"):
        method = zipfile.ZIP_DEFLATED if kind == "zip deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, body in content.items():
                archive.writestr(name, body)
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind.partition(' ')[2]}") as archive:
            for name, body in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


ARCHIVES = tuple(packed(kind) for kind in ("zip stored", "zip deflated", "tar ", "tar gz", "tar bz2", "tar xz"))


@FUZZ
@given(mutated(ARCHIVES, most=3), st.sampled_from(("a.zip", "train.zip", "a.tar", "a.tar.gz", "a.bin")))
def test_a_damaged_archive_is_unpacked_inside_or_refused(tmp_path_factory, content, name):
    outer = tmp_path_factory.mktemp("archive")
    (outer / name).write_bytes(content)
    root = outer / "deep" / "root"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of two entries of one name
        reason = refusal(
            DataError, lambda: unpack([outer / name], root, replace=False, on_bytes=lambda done, total: None)
        )
    assert reason is None or name in reason
    outside = {path for path in outer.rglob("*") if root not in path.parents}
    assert outside <= {outer / name, outer / "deep", root}
    assert not any(path.is_symlink() for path in root.rglob("*"))
    assert not (root / ".carsearch-unpack").exists()
