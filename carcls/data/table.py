"""The contest's layout on disk -> checked tables of photos; what cannot be used is quarantined and named.

<root>/train.csv                 Id,Category
<root>/train/<Category>/<Id>
<root>/test_upload/<Id>          optional
<root>/sample-submission.csv     optional; Id,Category
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.data.rows import Row, read_rows
from carcls.data.scan import Scan, scan_photos
from carcls.errors import DataError

TRAIN_CSV = "train.csv"
TRAIN_FOLDER = "train"
TEST_FOLDER = "test_upload"
SAMPLE_CSV = "sample-submission.csv"


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Photos of one kind, in file order. All fields but `root` have one entry a photo."""

    root: Path
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    """Posix, relative to root."""
    labels: NDArray[np.int64]
    """(n,) index into the class names, -1 where unlabelled; read-only."""
    digests: tuple[str, ...]
    """Hex blake2b-128 of each file's bytes."""

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        lengths = {len(self.ids), len(self.paths), len(labels), len(self.digests)}
        if len(lengths) != 1 or labels.ndim != 1:
            raise ValueError(f"a table needs one id, path, label and digest a photo; found {sorted(lengths)} entries")

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageTable):
            return NotImplemented
        mine = (self.root, self.ids, self.paths, self.digests)
        theirs = (other.root, other.ids, other.paths, other.digests)
        return mine == theirs and np.array_equal(self.labels, other.labels)

    def __hash__(self) -> int:
        return hash((self.root, self.ids, self.digests))

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> "ImageTable":
        """The photos at these positions, in this order."""
        chosen = [int(index) for index in indices]
        return ImageTable(
            root=self.root,
            ids=tuple(self.ids[index] for index in chosen),
            paths=tuple(self.paths[index] for index in chosen),
            labels=self.labels[np.array(chosen, dtype=np.intp)],
            digests=tuple(self.digests[index] for index in chosen),
        )


@dataclass(frozen=True)
class Quarantined:
    """A photo or a row that is not used, and why."""

    id: str
    path: str
    """Posix, relative to the data folder, as the row would have it; the file need not exist."""
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Everything found under one data folder."""

    class_names: tuple[str, ...]
    """Numeric names in numeric order, then the others sorted. A label is an index into this."""
    train: ImageTable
    test: ImageTable
    """In the sample's order where a sample exists, else by file name, numbers by value."""
    sample_submission: Path | None
    quarantined: tuple[Quarantined, ...]
    """In file order, training first; test photos have paths under `test_upload/`."""
    train_scans: tuple[Scan, ...]
    """One a photo of `train`."""
    test_scans: tuple[Scan, ...]
    """One a photo of `test`."""


def load_dataset(root: Path, *, processes: int) -> Dataset:
    """Reads the contest's layout and decodes every photo once; unusable photos and rows are quarantined.

    processes: how many decode at once; 1 decodes in this process. More start fresh Python processes, so that a
    script needs its `if __name__ == "__main__"`.
    Raises DataError where train.csv is missing, has other columns, or leaves not one usable photo.
    """
    rows, unusable = read_rows(root / TRAIN_CSV, ("Id", "Category"), TRAIN_FOLDER)
    sample = root / SAMPLE_CSV
    test_rows, unusable_test = _test_rows(root, sample if sample.is_file() else None)
    scans = scan_photos([root / row.path for row in (*rows, *test_rows)], processes=processes)
    train, broken = _split_readable(root, rows, scans[: len(rows)])
    test, broken_test = _split_readable(root, test_rows, scans[len(rows) :])
    train_quarantine = _quarantine(unusable + broken)
    if not train:
        first = train_quarantine[0].reason if train_quarantine else "the file has no rows"
        raise DataError(
            f"{root / TRAIN_CSV}: none of its {len(train_quarantine)} rows has a usable photo; expected"
            f" {TRAIN_FOLDER}/<Category>/<Id> beside it. The first problem: {first}"
        )
    class_names = sort_class_names({row.category for row, _ in train})
    return Dataset(
        class_names=class_names,
        train=_table(root, train, class_names),
        test=_table(root, test, ()),
        sample_submission=sample if sample.is_file() else None,
        quarantined=(*train_quarantine, *_quarantine(unusable_test + broken_test)),
        train_scans=tuple(scan for _, scan in train),
        test_scans=tuple(scan for _, scan in test),
    )


def sort_class_names(names: set[str]) -> tuple[str, ...]:
    """Numeric names by value ('10' after '9'), then the others as strings."""
    return tuple(sorted(names, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name)))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which 9.jpg comes before 10.jpg."""
    return [(0, int(part), "") if _is_number(part) else (1, 0, part) for part in re.split(r"([0-9]+)", name)]


def _test_rows(root: Path, sample: Path | None) -> tuple[list[Row], list[tuple[Row, str]]]:
    folder = root / TEST_FOLDER
    if not folder.is_dir():  # a search needs no test photos; a submission will ask for them
        return [], []
    if sample is not None:
        return read_rows(sample, ("Id",), TEST_FOLDER)
    names = sorted((entry.name for entry in folder.iterdir()), key=_natural)
    return [Row(0, name, "", f"{TEST_FOLDER}/{name}") for name in names], []


def _split_readable(
    root: Path, rows: list[Row], scans: Sequence[Scan]
) -> tuple[list[tuple[Row, Scan]], list[tuple[Row, str]]]:
    """Rows with their scan, and rows with the reason why their photo is unreadable."""
    readable = [(row, scan) for row, scan in zip(rows, scans, strict=True) if not scan.reason]
    broken = [(row, scan.reason) for row, scan in zip(rows, scans, strict=True) if scan.reason]
    return readable, broken


def _quarantine(entries: list[tuple[Row, str]]) -> tuple[Quarantined, ...]:
    ordered = sorted(entries, key=lambda entry: entry[0].line)
    return tuple(Quarantined(row.id, row.path, f"{row.where}{reason}") for row, reason in ordered)


def _table(root: Path, rows: list[tuple[Row, Scan]], class_names: tuple[str, ...]) -> ImageTable:
    label_of = {name: label for label, name in enumerate(class_names)}
    return ImageTable(
        root=root,
        ids=tuple(row.id for row, _ in rows),
        paths=tuple(row.path for row, _ in rows),
        labels=np.array([label_of.get(row.category, -1) for row, _ in rows], dtype=np.int64),
        digests=tuple(scan.digest for _, scan in rows),
    )
