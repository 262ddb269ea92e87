"""Files that users bring: experiment files, tables, photos, archives, policies."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

import cv2
import numpy as np

from benchmarks.fuzz.kind import Kind, SilentError
from benchmarks.fuzz.mutations import changed_tree, mutated
from carcls.archives.unpack import unpack
from carcls.augment.policy_file import read_policy_file
from carcls.dataset.loading import check_trainable, load_dataset
from carcls.errors import DataError
from carcls.photos.headers import read_header
from carcls.photos.photo import decode_bytes, preview_bytes
from carcls.splits.split import make_split
from carcls.splits.split_files import read_split, write_quarantine, write_split
from search.experiment.experiment import load

EXPERIMENTS = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.yaml"))
_NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)


def data_kinds() -> list[Kind]:
    """In the order of the table."""
    return [
        Kind("experiment files", [path.read_bytes() for path in EXPERIMENTS], mutated, _experiment),
        Kind("tables of labels", _TABLES, mutated, _table),
        Kind("photos", photos(), mutated, _photo),
        Kind("archives", archives(), mutated, _archive),
        Kind("policies, bytes", [json.dumps(_POLICY).encode()], mutated, _policy),
        Kind("policies, values", [json.dumps(_POLICY).encode()], _changed_json, _policy),
    ]


def _changed_json(rng: Random, whole: bytes) -> bytes:
    return json.dumps(changed_tree(rng, json.loads(whole))).encode()


def _experiment(content: bytes, folder: Path) -> None:
    path = folder / "e.yaml"
    path.write_bytes(content)
    found = load(path)
    path.write_text(found.resolved_yaml(), encoding="utf-8")
    if load(path) != found:
        raise SilentError("the resolved experiment reads as another")


_TABLES = (
    b"Id,Category\n1.jpg,0\n2.jpg,0\n3.jpg,10\n4.jpg,10\n",
    b'\xef\xbb\xbf"Id";"Category"\r\n"1.jpg";"0"\r\n"2.jpg";"10"\r\n"3.jpg";"10"\r\n',
)


def _table(content: bytes, folder: Path) -> None:
    root = folder / "data"
    for number, name in enumerate(("0/1", "0/2", "10/3", "10/4")):
        path = root / "train" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(".jpg", cv2.IMWRITE_JPEG_QUALITY, 40 + number))
    (root / "train.csv").write_bytes(content)
    dataset = load_dataset(root, processes=1)
    check_trainable(dataset)
    inside = root.resolve()
    if any(inside not in (root / path).resolve().parents for path in dataset.train.paths):
        raise SilentError("a photo from outside the data folder")
    write_quarantine(folder / "quarantine.csv", dataset.quarantined)
    if b"\x1b" in (folder / "quarantine.csv").read_bytes():
        raise SilentError("a raw escape sequence in quarantine.csv")
    with suppress(DataError):  # too few photos of a class
        split = make_split(dataset, fraction=0.5, seed=0)
        write_split(split, folder / "split.csv")
        if read_split(folder / "split.csv", root) != split:
            raise SilentError("the split reads as another")


def photo(ending: str, *flags: int, alpha: bool = False) -> bytes:
    """Noise of 32 x 24 px as OpenCV writes it."""
    return cv2.imencode(ending, _NOISE if alpha else _NOISE[..., :3], list(flags))[1].tobytes()


def photos() -> list[bytes]:
    return [
        photo(".jpg"),
        photo(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        photo(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        *(photo(ending, alpha=alpha) for ending in (".png", ".webp") for alpha in (False, True)),
        cv2.imencode(".png", _NOISE.astype(np.uint16) * 257)[1].tobytes(),
    ]


def _photo(content: bytes, folder: Path) -> None:
    del folder
    found = []
    for decode in (decode_bytes, preview_bytes):
        try:
            seen = decode(content)
        except DataError as error:
            found.append(error)
            continue
        size = (seen.shape[0], seen.shape[1]) if isinstance(seen, np.ndarray) else (seen.height, seen.width)
        found.append(size)
    if all(isinstance(one, DataError) for one in found):
        raise found[0]
    header = read_header(content)
    if found[0] != found[1] or found[0] not in ((header.height, header.width), (header.width, header.height)):
        raise SilentError(f"decoded to {found[0]} and {found[1]}, its header says {header}")


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tarred(files: Mapping[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def archives() -> list[bytes]:
    files = {"train/0/1.jpg": b"one" * 20, "train.csv": b"Id,Category\n1.jpg,0\n", "test/\u00e9.jpg": b"two"}
    return [
        zipped(files),
        zipped(files, zipfile.ZIP_STORED),
        zipped({"a.zip": zipped(files), "b.tar.gz": _tarred({"x/1.jpg": b"three"}, "w:gz")}, zipfile.ZIP_STORED),
        *(_tarred(files, mode) for mode in ("w:", "w:gz", "w:bz2", "w:xz")),
    ]


def _archive(content: bytes, folder: Path) -> None:
    archive, root = folder / "a.zip", folder / "deep" / "root"
    archive.write_bytes(content)
    try:
        unpack([archive], root, replace=False, on_bytes=lambda done, total: None)
    finally:
        outside = {path for path in folder.rglob("*") if root not in path.parents} - {archive, root.parent, root}
        if outside or any(path.is_symlink() for path in root.rglob("*")):
            raise SilentError(f"written outside the folder: {outside}")


_POLICY = {
    "__version__": "2.0.8",
    "transform": {
        "__class_fullname__": "Compose",
        "p": 0.9,
        "transforms": [
            {"__class_fullname__": "HorizontalFlip", "p": 0.5},
            {
                "__class_fullname__": "OneOf",
                "p": 0.7,
                "transforms": [
                    {"__class_fullname__": "Blur", "p": 1.0, "blur_limit": [3, 7]},
                    {"__class_fullname__": "RandomGamma", "p": 1.0, "gamma_limit": [80, 120]},
                ],
            },
            {"__class_fullname__": "Affine", "p": 0.8, "rotate": [-9, 9], "scale": 1.1},
        ],
    },
}


def _policy(content: bytes, folder: Path) -> None:
    """In this process, without the deadline that a study's start sets: what stalls is counted as a traceback."""
    path = folder / "p.json"
    path.write_bytes(content)
    read_policy_file.cache_clear()
    read_policy_file(str(path)).compose()
