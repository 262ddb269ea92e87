"""K folds of a study's labelled photos. Each photo is validated once; look-alikes stay together. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.table import ImageTable
from carcls.errors import DataError
from carcls.photos.duplicates import exact_groups
from carcls.splits.split import Groups, Split, joined_tables
from carcls.splits.split_files import parse_parts, read_bytes, write_parts
from carcls.splits.units import Units, deal

ALWAYS_TRAINS = -1
"""Fold of a photo that is never validated: a class's only photo, or a copy with another label."""
EVERY_PHOTO = -1
"""In place of a fold's number: every photo trains, and none validates; see `all_trained`."""
_TRAIN, _HOLDOUT = "train", "holdout"
_MAX_FOLDS = 100


@dataclass(frozen=True, eq=False)
class Folds:
    """All labelled photos except the holdout, each with the number of the fold in which it is validated."""

    class_names: tuple[str, ...]
    photos: ImageTable
    numbers: NDArray[np.int64]
    """(n,) 0 .. count - 1, or ALWAYS_TRAINS."""
    count: int
    holdout: ImageTable | None
    groups: Groups
    own_groups: Groups = ()

    def split(self, number: int) -> Split:
        """Trains on all other folds and validates on this one, both in the order of `photos`."""
        validates = self.numbers == number
        train, validation = (self.photos.select(np.flatnonzero(rows).tolist()) for rows in (~validates, validates))
        return Split(self.class_names, train, validation, self.holdout, self.groups, self.own_groups)


def make_folds(split: Split, *, count: int, seed: int) -> Folds:
    """Deals a split's training and validation photos into `count` >= 2 folds, stratified by class.

    Copies and the user's own groups are dealt whole, the largest first, to the fold with the fewest photos of the
    class, then the fewest photos overall. A class with a single group and copies with contradictory labels are never
    validated. A class with fewer groups than folds has no validation photo in some folds. Raises DataError if a fold
    would be empty.
    """
    if count < 2:
        raise DataError(f"folds: expected 2 or more, found {count}")
    photos = joined_tables(split.train, split.validation)
    rng = np.random.default_rng(np.random.SeedSequence((seed, count)))
    row_of = {path: row for row, path in enumerate(photos.paths)}
    own = [rows for rows in _rows_of(split.own_groups, row_of) if len(rows) > 1]
    units = Units.of(photos.labels, _copies_of(photos, split.groups, row_of), own)
    dealt = deal(units, class_count=len(split.class_names), folds=count, rng=rng)
    numbers = np.full(len(photos), ALWAYS_TRAINS, np.int64)
    numbers[list(dealt)] = list(dealt.values())
    if len(set(dealt.values())) < count:
        raise DataError(
            f"{photos.root}: {len(photos)} photos are too few for {count} folds with validation photos each: ask for"
            " fewer folds, or add photos"
        )
    return Folds(split.class_names, photos, numbers, count, split.holdout, split.groups, split.own_groups)


def write_folds(folds: Folds, path: Path) -> None:
    """Writes folds.csv atomically; `read_folds` reads it back."""
    tables = {name: folds.photos.select(_rows(folds, name)) for name in _names(folds.count)[:-1]}
    if folds.holdout is not None:
        tables[_HOLDOUT] = folds.holdout
    write_parts(path, folds.class_names, tables, folds.groups, folds.own_groups)


def read_folds(path: Path, root: Path) -> Folds:
    """Reads what `write_folds` wrote, photos in the order of the file. Raises DataError."""
    return parse_folds(read_bytes(path), path, root)


def parse_folds(content: bytes, path: Path, root: Path) -> Folds:
    """The same from the file's content; `path` is only used in messages. Raises DataError."""
    class_names, parts, groups, own_groups = parse_parts(content, path, root, _names(_MAX_FOLDS))
    numbered = {name: table for name, table in parts.items() if name != _HOLDOUT and len(table)}
    numbers = [np.full(len(table), _number(name)) for name, table in numbered.items()]
    photos = joined_tables(*numbered.values())
    held_out = parts[_HOLDOUT] if len(parts[_HOLDOUT]) else None
    all_numbers = np.concatenate(numbers)
    return Folds(class_names, photos, all_numbers, int(all_numbers.max()) + 1, held_out, groups, own_groups)


def _names(count: int) -> tuple[str, ...]:
    return (_TRAIN, *map(str, range(count)), _HOLDOUT)


def _number(name: str) -> int:
    return ALWAYS_TRAINS if name == _TRAIN else int(name)


def _rows(folds: Folds, name: str) -> list[int]:
    return [int(row) for row in np.flatnonzero(folds.numbers == _number(name))]


def _rows_of(groups: Groups, row_of: Mapping[str, int]) -> list[tuple[int, ...]]:
    """Rows of each group, which may be partly or wholly in the holdout."""
    found = [tuple(row_of[path] for path in group if path in row_of) for group in groups]
    return [group for group in found if group]


def _copies_of(photos: ImageTable, groups: Groups, row_of: Mapping[str, int]) -> list[tuple[int, ...]]:
    """Rows of copies; every photo is in one group. Older files have no groups, so exact copies are found by digest."""
    found = _rows_of(groups, row_of) or exact_groups(photos.digests)
    inside = {row for group in found for row in group}
    return [*found, *((row,) for row in range(len(photos)) if row not in inside)]
