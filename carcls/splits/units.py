"""Units: sets of photos that stay on one side of every split, and how they are drawn and dealt. Pure.

A unit is a photo with its copies, and with all photos of its group if the user names groups (the same car, the same
seller). Groups may have photos of several classes; copies of several classes contradict each other.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Member = TypeVar("Member", bound=Hashable)

Unit = tuple[int, ...]
"""Rows of a table, ascending."""


def joined(groups: Iterable[Iterable[Member]]) -> list[tuple[Member, ...]]:
    """Groups that share a member become one. Groups and members stay in the order of their first occurrence."""
    place_of: dict[Member, int] = {}
    members: dict[int, dict[Member, None]] = {}
    for number, group in enumerate(groups):
        unique = dict.fromkeys(group)
        touched = sorted({place_of[one] for one in unique if one in place_of}) or [number]
        first, *others = touched
        into = members.setdefault(first, {})
        for other in others:
            into |= members.pop(other)
        into |= unique
        place_of |= dict.fromkeys(into, first)
    return [tuple(group) for group in members.values()]


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a table."""

    labels: NDArray[np.int64]
    """(n,) class of each row."""
    usable: tuple[Unit, ...]
    """Units that may be validated or held out, by their first row."""
    contradictory: frozenset[int]
    """Classes of the other units: those with copies of different classes. They always train."""

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        copies: Sequence[Unit],
        own: Sequence[Unit] = (),
        *,
        outside: Collection[int] = (),
    ) -> "Units":
        """copies: together they hold every row. own: groups that the user named, two or more rows each. outside: rows
        that the units are without, though they join and contradict others."""
        wrong = [group for group in copies if len({int(labels[row]) for row in group}) > 1]
        rows_wrong = {row for group in wrong for row in group}
        units = [tuple(sorted(unit)) for unit in joined([*copies, *own])] if own else list(copies)
        never = [unit for unit in units if not rows_wrong.isdisjoint(unit)]
        inside = (tuple(row for row in unit if row not in outside) for unit in units if rows_wrong.isdisjoint(unit))
        return cls(
            labels,
            tuple(unit for unit in inside if unit),
            frozenset(int(labels[row]) for unit in never for row in unit if row not in outside),
        )

    def classes(self, unit: Unit) -> dict[int, int]:
        """Number of a unit's photos of each of its classes."""
        counts: dict[int, int] = defaultdict(int)
        for row in unit:
            counts[int(self.labels[row])] += 1
        return counts

    def without(self, rows: set[int]) -> "Units":
        """Without the units that hold any of these rows."""
        return Units(self.labels, tuple(unit for unit in self.usable if rows.isdisjoint(unit)), self.contradictory)

    def per_class(self) -> dict[int, int]:
        """Number of usable units with photos of each class."""
        counts: dict[int, int] = defaultdict(int)
        for unit in self.usable:
            for label in self.classes(unit):
                counts[label] += 1
        return counts

    def by_class(self) -> dict[int, list[Unit]]:
        """Usable units by the class of their first photo, in order."""
        found: dict[int, list[Unit]] = defaultdict(list)
        for unit in self.usable:
            found[int(self.labels[unit[0]])].append(unit)
        return found


def whole_units(units: Units, rows: set[int]) -> set[int]:
    """The rows of units that lie wholly among `rows`, except of classes that would then have no other photo."""
    whole = [unit for unit in units.usable if rows.issuperset(unit)]
    inside: dict[int, int] = defaultdict(int)
    for unit in whole:
        for label in units.classes(unit):
            inside[label] += 1
    everywhere = units.per_class()
    has_others = {label for label, count in everywhere.items() if inside[label] < count or label in units.contradictory}
    return {row for unit in whole if has_others.issuperset(units.classes(unit)) for row in unit}


def draw(units: Units, share: float, counts: Sequence[int], rng: np.random.Generator) -> set[int]:
    """Rows of whole units for a rounded share of each class, and at least one unit of each that leaves one to train on.

    counts: photos of each class, to which `share` applies.
    """
    of_class = units.by_class()
    shuffled = {
        label: [of_class[label][place] for place in rng.permutation(len(of_class[label]))]
        for label in range(len(counts))
    }
    spare = {label: count - (label not in units.contradictory) for label, count in units.per_class().items()}
    wanted = {label: round(share * count) for label, count in enumerate(counts)}
    taken: dict[int, int] = defaultdict(int)
    drawn: set[int] = set()

    def take(unit: Unit) -> None:
        drawn.update(unit)
        for label, count in units.classes(unit).items():
            taken[label] += count
            spare[label] -= 1

    for unit in (unit for label in range(len(counts)) for unit in shuffled[label]):
        inside = units.classes(unit)
        if all(spare[label] > 0 and taken[label] + count <= wanted[label] for label, count in inside.items()):
            take(unit)
    for label in range(len(counts)):
        # Units of one class are of this list; others with its photos are of another class's.
        with_class = shuffled[label] or [unit for unit in units.usable if label in units.classes(unit)]
        may = [unit for unit in with_class if all(spare[other] > 0 for other in units.classes(unit))]
        if not taken[label] and may:
            take(min(may, key=len))
    return drawn


def deal(units: Units, *, class_count: int, folds: int, rng: np.random.Generator) -> dict[int, int]:
    """The fold of each row that is ever validated. Every fold leaves photos of all validated classes to train on.

    Units of several classes are dealt first, then class by class, the largest first. Each goes to the fold with the
    fewest photos of its classes, then the fewest photos overall. A unit that is the only one of a class is not dealt.
    """
    of_class = units.by_class()
    mixed = [unit for unit in units.usable if len(units.classes(unit)) > 1]
    orders = [[mixed[place] for place in rng.permutation(len(mixed))]] if mixed else []
    for label in range(class_count):
        single = [unit for unit in of_class[label] if len(units.classes(unit)) == 1]
        orders.append([single[place] for place in rng.permutation(len(single))])
    many = units.per_class()
    in_class = np.zeros((class_count, folds), np.int64)
    in_all = np.zeros(folds, np.int64)
    dealt: dict[int, int] = {}
    left = dict(many)
    folds_of: dict[int, set[int]] = defaultdict(set)
    for unit in (unit for order in orders for unit in sorted(order, key=len, reverse=True)):
        inside = units.classes(unit)
        for label in inside:
            left[label] -= 1
        if any(many[label] < 2 for label in inside):
            continue
        # The last unit of a class must not join all its others in one fold.
        shut = {
            fold
            for label in inside
            if not left[label] and label not in units.contradictory and len(folds_of[label]) == 1
            for fold in folds_of[label]
        }
        open_folds = [fold for fold in range(folds) if fold not in shut]
        if not open_folds:
            continue
        crowded = sum(in_class[label] * count for label, count in inside.items())
        order = np.lexsort((in_all[open_folds], np.asarray(crowded)[open_folds]))  # the last key is the primary one
        fold = open_folds[int(order[0])]
        dealt |= dict.fromkeys(unit, fold)
        in_all[fold] += len(unit)
        for label, count in inside.items():
            in_class[label, fold] += count
            folds_of[label].add(fold)
    return dealt
