"""Tables of photos: what `loading` finds in a data folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.scan import Scan


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Photos of one kind, in file order. All fields except `root` have one entry per photo."""

    root: Path
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    """POSIX, relative to root."""
    labels: NDArray[np.int64]
    """(n,) index into the class names, -1 if unlabelled; read-only."""
    digests: tuple[str, ...]
    """Hex blake2b-128 of each file's bytes."""

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        lengths = {len(self.ids), len(self.paths), len(labels), len(self.digests)}
        if len(lengths) != 1 or labels.ndim != 1:
            raise ValueError(f"a table needs one id, path, label and digest per photo; found {sorted(lengths)} entries")

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
    """A photo, row, folder or class that is not used, and why."""

    id: str
    path: str
    """POSIX, relative to the data folder or absolute outside it. As written in the row, so it need not exist."""
    reason: str


@dataclass(frozen=True)
class Unlabelled:
    """Photos to predict."""

    photos: ImageTable
    """The readable ones."""
    ids: tuple[str, ...]
    """Ids of all existing photos, readable or not, in the sample's order or else natural order."""
    sample_submission: Path | None
    quarantined: tuple[Quarantined, ...]
    scans: tuple[Scan, ...]
    """One per photo of `photos`."""


@dataclass(frozen=True)
class Dataset:
    """Everything found under one data folder."""

    class_names: tuple[str, ...]
    """Numeric names in numeric order, then the others in natural order. Labels are indices into this."""
    train: ImageTable
    test: ImageTable
    """In the sample's order if there is a sample, else in natural order of file names."""
    sample_submission: Path | None
    quarantined: tuple[Quarantined, ...]
    """In file order, training first, then classes without a usable photo, then test photos."""
    train_scans: tuple[Scan, ...]
    """One per photo of `train`."""
    test_scans: tuple[Scan, ...]
    """One per photo of `test`."""
    sample_problem: str = ""
    """Why no submission can follow the sample, as when it cannot be read or none of its ids has a photo. Empty if one
    can, or if there is no sample."""
    validation: tuple[int, ...] = ()
    """Positions in `train` of the user's own validation photos, by a column or a `val`, `valid` or `validation`
    folder; empty if they are drawn."""
    holdout: tuple[int, ...] = ()
    """Positions in `train` of the user's own holdout photos, by a column. Each class has others."""
    own_groups: tuple[str, ...] = ()
    """The user's group of each photo of `train`, empty for a photo of its own; () without a column of groups."""
