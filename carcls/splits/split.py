"""One stratified, duplicate-aware split per study, pure in (dataset, fractions, seed), stored as split.csv."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from carcls.dataset.table import Dataset, ImageTable, Quarantined
from carcls.errors import DataError
from carcls.photos.duplicates import linked_groups
from carcls.splits.units import Unit, Units, draw, joined, whole_units

Groups = tuple[tuple[str, ...], ...]
"""Paths of photos that must stay together, two or more per group; sorted."""


@dataclass(frozen=True)
class Split:
    """A study's training, validation and holdout photos. No photo is in two of them, nor are copies of it."""

    class_names: tuple[str, ...]
    train: ImageTable
    validation: ImageTable
    holdout: ImageTable | None = None
    """Scored after each epoch but never used in a decision; None if there is no holdout."""
    groups: Groups = ()
    """Photos that are exact or near copies of each other."""
    own_groups: Groups = ()
    """Photos of one group by the user's own column, such as one car's."""

    @property
    def labelled(self) -> int:
        """Number of labelled photos that are not held out."""
        return len(self.train) + len(self.validation)

    @property
    def units(self) -> Groups:
        """Photos that must stay together, two or more each: copies, own groups, and both joined where they overlap."""
        return tuple(tuple(sorted(group)) for group in joined([*self.groups, *self.own_groups]))


def make_split(
    dataset: Dataset,
    *,
    fraction: float,
    seed: int,
    holdout_fraction: float = 0.0,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Split:
    """Moves a rounded share of each class to validation; copies (equal digests, look-alikes) and the user's own groups
    stay together.

    Every class with two different photos has at least one on each side. A class with one photo stays in training, as do
    copies with contradictory labels, whose score would be meaningless. All parts keep the file order.

    fraction: share for validation. If the data folder has its own validation photos, these are used instead, except
    copies of other photos and classes without any other photo, which stay in training.
    holdout_fraction: share of each class held out in the same way from the remaining photos; 0 for none. Validation
    photos do not depend on it. If the data folder has its own holdout photos, these are used instead, except copies of
    other photos, which are in no part, see `in_no_part`.
    groups: `train_groups(dataset)` if already computed.

    Raises DataError if a fraction is outside (0, 1), if their sum is not below 1, if no class can spare a photo, or if
    there is both an own holdout and a fraction for one.
    """
    _check_fractions(fraction, holdout_fraction)
    if dataset.holdout and holdout_fraction:
        raise DataError(
            f"{dataset.train.root}: data.split_column names holdout photos, and data.holdout.fraction asks to draw"
            " some: remove one of the two"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    table = dataset.train
    groups = train_groups(dataset) if groups is None else groups
    own = _own_units(dataset.own_groups)
    named_holdout = set(dataset.holdout)
    own_holdout = whole_units(Units.of(table.labels, groups, own), named_holdout)
    units = Units.of(table.labels, groups, own, outside=named_holdout)
    counts = np.bincount(table.labels, minlength=len(dataset.class_names)).tolist()
    # Validation is drawn from all classes before the holdout, so that it is the same without a holdout.
    if dataset.validation:
        validation = whole_units(units, set(dataset.validation))
    else:
        validation = draw(units, fraction, counts, rng)
    held_out = [validation]
    if dataset.holdout:
        held_out.append(own_holdout)
    elif holdout_fraction:
        held_out.append(draw(units.without(validation), holdout_fraction, counts, rng))
    _check_held_out(dataset, held_out)
    in_training = set(range(len(table))).difference(named_holdout, *held_out)
    train, validated, *holdout = (table.select(sorted(part)) for part in (in_training, *held_out))
    unused = named_holdout - own_holdout
    return Split(
        dataset.class_names,
        train,
        validated,
        holdout[0] if holdout else None,
        _named(table, groups, unused),
        _named(table, own, unused),
    )


def in_no_part(
    dataset: Dataset, split: Split, groups: Sequence[tuple[int, ...]] | None = None
) -> tuple[Quarantined, ...]:
    """Photos of the user's own holdout that the split has in no part, with a reason.

    The holdout must not have them, since copies of them are trained on or labelled otherwise, and the other parts must
    not either, since the user held them out. groups: `train_groups(dataset)` if already computed.
    """
    table = dataset.train
    held_out = set() if split.holdout is None else set(split.holdout.paths)
    unused = [row for row in dataset.holdout if table.paths[row] not in held_out]
    if not unused:
        return ()
    groups = train_groups(dataset) if groups is None else groups
    unit_of = {row: unit for unit in joined([*groups, *_own_units(dataset.own_groups)]) for row in unit}
    named = set(dataset.holdout)
    return tuple(
        Quarantined(table.ids[row], table.paths[row], _why_in_no_part(table, row, unit_of[row], named))
        for row in unused
    )


def _why_in_no_part(table: ImageTable, row: int, unit: Unit, holdout: set[int]) -> str:
    """unit: the row with its copies and its group."""
    others = [other for other in unit if other != row]
    outside = next((other for other in others if other not in holdout), None)
    if outside is not None:
        why = f"but {table.paths[outside]} is not, a copy, a look-alike or of its group"
    elif others:
        why = f"but it or a copy of it has another label, see {table.paths[others[0]]}"
    else:
        why = "as is every photo of its class"
    return f"in the holdout by data.split_column, {why}; it is in no part of the split"


def _own_units(names: Sequence[str]) -> list[Unit]:
    """Rows of each named group of two photos or more; photos without a name are in none."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if name:
            rows[name].append(row)
    return [tuple(group) for group in rows.values() if len(group) > 1]


def _named(table: ImageTable, groups: Iterable[Unit], without: set[int]) -> Groups:
    """The paths of groups of two photos or more, sorted. without: rows to leave out."""
    kept = ([row for row in group if row not in without] for group in groups)
    return tuple(sorted(tuple(sorted(table.paths[row] for row in group)) for group in kept if len(group) > 1))


def all_trained(split: Split) -> Split:
    """The split with its validation photos after those of training, and none left to validate. The holdout stays."""
    nothing = split.validation.select([])
    return replace(split, train=joined_tables(split.train, split.validation), validation=nothing)


def joined_tables(*tables: ImageTable) -> ImageTable:
    """The photos of one or more tables of one data folder, one table after the other."""
    first = tables[0]
    return ImageTable(
        root=first.root,
        ids=tuple(id_ for table in tables for id_ in table.ids),
        paths=tuple(path for table in tables for path in table.paths),
        labels=np.concatenate([table.labels for table in tables]),
        digests=tuple(digest for table in tables for digest in table.digests),
    )


def train_groups(dataset: Dataset) -> list[tuple[int, ...]]:
    """Groups of positions of training photos that are copies of each other. Every photo is in one group."""
    thumbnails = [scan.thumbnail for scan in dataset.train_scans]
    return linked_groups(dataset.train.digests, thumbnails, dataset.train.labels.tolist())


def _check_fractions(validation: float, holdout: float) -> None:
    if not 0.0 < validation < 1.0:
        raise DataError(f"validation fraction {validation}: expected a number between 0 and 1, such as 0.15")
    if not 0.0 <= holdout < 1.0:
        raise DataError(f"holdout fraction {holdout}: expected 0, or a number between 0 and 1, such as 0.15")
    if validation + holdout >= 1.0:
        raise DataError(
            f"validation fraction {validation} and holdout fraction {holdout} leave nothing to train on: expected a sum"
            " below 1"
        )


def _check_held_out(dataset: Dataset, held_out: Sequence[set[int]]) -> None:
    """Raises DataError if a part is empty. held_out: validation, and the holdout if requested."""
    root = dataset.train.root
    if not held_out[0] and dataset.validation:
        raise DataError(f"{root}: {_none_of_own(len(dataset.validation), 'validation')}")
    if not held_out[0]:
        raise DataError(
            f"{root}: no class has two different photos, so none can be held out for validation; add photos"
        )
    if not held_out[-1] and dataset.holdout:
        raise DataError(f"{root}: {_none_of_own(len(dataset.holdout), 'holdout')}")
    if not held_out[-1]:
        raise DataError(
            f"{root}: no class has three different photos, so none can be held out; add photos, or leave"
            " out the holdout fraction"
        )


def _none_of_own(count: int, part: str) -> str:
    """Why none of the user's own photos of a part can be held out, and what to do."""
    where = "a folder or data.split_column" if part == "validation" else "data.split_column"
    return (
        f"none can be held out of the {count:,} photos that {where} names for {part}: each is a copy of a photo of"
        " another part or class, shares a group with one of another part, or is of a class without other photos to"
        f" train on; name other photos for {part}, or remove this part of the split"
    )
