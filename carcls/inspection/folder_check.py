"""Checks a data folder: counts, sizes, copies, unusable photos, and the split that a study would use."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.labelled import labelled_candidates
from carcls.dataset.layouts import Layout, find_layout
from carcls.dataset.loading import sort_class_names, unread_tables_hint
from carcls.dataset.names import confusable_key, first_names
from carcls.dataset.scan import Scan
from carcls.dataset.table import Dataset, Quarantined
from carcls.errors import DataError
from carcls.inspection.findings import ClassCount, Copies, Findings, Quantiles, Sizes
from carcls.photos.duplicates import exact_groups, linked_groups
from carcls.splits.split import Split, in_no_part, make_split, train_groups

_VALIDATION_PHOTOS = 1500
"""About enough to tell 0.96 from 0.97: the standard error of an accuracy of 0.96 is then 0.005."""
_FRACTIONS = (0.10, 0.15, 0.20, 0.25)
_FEW_VALIDATION = 10
"""With fewer validation photos, a class's accuracy changes in steps of over 10 %."""
_UNEQUAL = 5.0
_SMALL_PX = 64
_STRIDE_PX = 32
_LONG_ASPECT = 3.0
_NPY_HEADER_BYTES = 128
_SHOWN_ALIKE = 5
_SHOWN_NAMES = 5


def class_rows(root: Path, layout: Layout) -> dict[str, int]:
    """Number of photos of each class according to rows and folders. Opens no photo, so they need not exist.

    Rows without an id are not counted. Raises DataError if no layout fits.
    """
    candidates = labelled_candidates(find_layout(root, layout))
    entries = [*candidates.rows, *(row for row, _ in candidates.refused)]
    counts = Counter(row.category for row in entries if row.category and row.id)
    return {name: counts[name] for name in sort_class_names(set(counts))}


def examine(dataset: Dataset, *, seed: int, fraction: float | None = None) -> Findings:
    """Everything that can be found from a dataset's scans, without opening photos again. Pure.

    fraction: share for validation, or None to suggest one.
    """
    chosen = suggested_fraction(len(dataset.train)) if fraction is None else fraction
    trained, everywhere = _groups(dataset)
    split, trouble = _split(dataset, chosen, seed, trained)
    names = len(dataset.class_names)
    held_out = [0] * names if split is None else np.bincount(split.validation.labels, minlength=names).tolist()
    unused = () if split is None else in_no_part(dataset, split, trained)
    quarantined = (*dataset.quarantined, *unused)
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.class_names)).tolist()
    classes = tuple(map(ClassCount, dataset.class_names, counts, held_out))
    copies, sizes = _copies(dataset, everywhere), _sizes(dataset)
    if len(classes) < 2:
        trouble = f"every usable photo is of the class {classes[0].name!r}; photos of at least two classes are needed"
        trouble += unread_tables_hint(dataset)
    return Findings(
        classes=classes,
        test=len(dataset.test),
        sizes=sizes,
        quarantined=quarantined,
        copies=copies,
        fraction=chosen,
        warnings=(
            *_warnings(classes, len(dataset.test), quarantined, copies, sizes),
            *_not_held_out(dataset, sum(held_out), len(unused)),
            *_look_alike(dataset.class_names),
        ),
        trouble=trouble,
        sample="" if dataset.sample_submission is None else dataset.sample_submission.name,
        sample_problem=dataset.sample_problem,
        validation_from=_validation_from(dataset),
        held_out=0 if split is None or split.holdout is None else len(split.holdout),
        in_no_part=len(unused),
        own_groups=_own_groups(dataset),
    )


def suggested_fraction(photos: int) -> float:
    """The smallest common share that yields enough validation photos, or a quarter if none does."""
    return next((share for share in _FRACTIONS if share * photos >= _VALIDATION_PHOTOS), _FRACTIONS[-1])


def pixel_store_bytes(photos: int, size_px: int) -> int:
    """Size on disk of all photos decoded at one size: one byte per channel, plus a .npy header."""
    return photos * size_px * size_px * 3 + _NPY_HEADER_BYTES


def suggested_shape(sizes: Sizes, side_px: int) -> tuple[int, int] | None:
    """Height and width in px of an input with about the pixels of a square and the shape of most photos; multiples of
    32, as backbones halve sides five times. None if a square suits them."""
    upright, lying, photos = sizes.portrait, sizes.landscape, sizes.portrait + sizes.landscape + sizes.square
    if 2 * max(upright, lying) <= photos:
        return None
    aspect = sizes.aspect.median
    height = max(1, round(side_px / aspect**0.5 / _STRIDE_PX)) * _STRIDE_PX
    width = max(1, round(height * aspect / _STRIDE_PX)) * _STRIDE_PX
    return None if height == width else (height, width)


def _groups(dataset: Dataset) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Copies among training photos only, as used by the split, and among all photos."""
    if not len(dataset.test):
        trained = train_groups(dataset)
        return trained, trained
    scans = (*dataset.train_scans, *dataset.test_scans)
    digests = [scan.digest for scan in scans]
    with ThreadPoolExecutor(2) as pool:  # NumPy releases the GIL while it counts bits
        labels = [*dataset.train.labels.tolist(), *dataset.test.labels.tolist()]
        everywhere = pool.submit(linked_groups, digests, [scan.thumbnail for scan in scans], labels)
        return train_groups(dataset), everywhere.result()


def _copies(dataset: Dataset, groups: Sequence[tuple[int, ...]]) -> tuple[Copies, ...]:
    """Exact copies and look-alikes among training and test photos, the worst kind first."""
    tables, paths = (dataset.train, dataset.test), _paths(dataset)
    labels = [int(label) for table in tables for label in table.labels]
    digests = [digest for table in tables for digest in table.digests]
    same = set(exact_groups(digests))
    found = [
        Copies(
            paths=tuple(paths[position] for position in group),
            classes=tuple(dataset.class_names[label] for label in sorted({labels[at] for at in group} - {-1})),
            exact=group in same,
            training=sum(position < len(dataset.train) for position in group),
            test=sum(position >= len(dataset.train) for position in group),
        )
        for group in groups
        if len(group) > 1
    ]
    return tuple(sorted(found, key=lambda group: (len(group.classes) < 2, not (group.training and group.test))))


def _split(dataset: Dataset, fraction: float, seed: int, groups: Sequence[tuple[int, ...]]) -> tuple[Split | None, str]:
    """The split that a study would use, or None and why there can be none."""
    try:
        return make_split(dataset, fraction=fraction, seed=seed, groups=groups), ""
    except DataError as error:
        return None, str(error)


def _validation_from(dataset: Dataset) -> str:
    if not dataset.validation:
        return ""
    tops = {dataset.train.paths[row].split("/")[0] for row in dataset.validation}
    others = {dataset.train.paths[row].split("/")[0] for row in set(range(len(dataset.train))) - {*dataset.validation}}
    return tops.pop() if len(tops) == 1 and not tops & others else "the CSV file's column"


def _own_groups(dataset: Dataset) -> tuple[int, int] | None:
    if not dataset.own_groups:
        return None
    sizes = [count for name, count in Counter(dataset.own_groups).items() if name and count > 1]
    return len(sizes), max(sizes, default=1)


def _not_held_out(dataset: Dataset, validated: int, unused: int) -> Iterable[str]:
    """Warnings about photos that are not in the part that the user named for them."""
    moved = len(dataset.validation) - validated
    if unused:
        yield (
            f"{unused:,} of {len(dataset.holdout):,} photos in your holdout have copies, look-alikes or photos of their"
            " group in another part, or with another label; they are in no part"
        )
    if moved > 0 and validated:
        yield (
            f"{moved:,} of {len(dataset.validation):,} photos in {_validation_from(dataset)} are copies of training"
            " photos, or the only ones of their class; they stay in training"
        )


def _look_alike(names: Sequence[str]) -> Iterable[str]:
    """Warnings about confusable class names, quoted as Python literals to show invisible characters and spaces."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[confusable_key(name)].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    for group in alike[:_SHOWN_ALIKE]:
        letters = len({confusable_key(name, merge_alphabets=False) for name in group}) > 1
        why = "letters of two alphabets" if letters else "case, spaces or invisible characters"
        quoted = first_names([repr(name) for name in group], _SHOWN_NAMES)
        yield f"class names that look alike and differ only by {why}: {quoted}"
    if len(alike) > _SHOWN_ALIKE:
        yield f"and {len(alike) - _SHOWN_ALIKE:,} more groups of class names that look alike"


def _paths(dataset: Dataset) -> list[str]:
    """Relative to the data folder; absolute for photos to predict that are elsewhere."""
    train, test = dataset.train, dataset.test
    outside = "" if test.root == train.root else f"{test.root.as_posix()}/"
    return [*train.paths, *(f"{outside}{path}" for path in test.paths)]


def _sizes(dataset: Dataset) -> Sizes:
    scans: tuple[Scan, ...] = (*dataset.train_scans, *dataset.test_scans)
    paths = _paths(dataset)
    width, height = (np.array([getattr(scan, side) for scan in scans]) for side in ("width", "height"))
    aspect = width / height
    is_odd = (np.minimum(width, height) < _SMALL_PX) | (np.maximum(aspect, 1 / aspect) > _LONG_ASPECT)
    common = Counter((scan.width, scan.height) for scan in scans).most_common(3)
    return Sizes(
        width_px=_quantiles(width),
        height_px=_quantiles(height),
        aspect=_quantiles(aspect),
        landscape=int(np.count_nonzero(width > height)),
        portrait=int(np.count_nonzero(width < height)),
        square=int(np.count_nonzero(width == height)),
        common=tuple((*size, count) for size, count in common),
        byte_count=sum(scan.byte_count for scan in scans),
        odd=tuple(paths[index] for index in np.flatnonzero(is_odd)),
    )


def _quantiles(values: NDArray[np.number]) -> Quantiles:
    return Quantiles(*np.quantile(values, (0.0, 0.5, 1.0)).tolist())


def _warnings(
    classes: Sequence[ClassCount],
    test: int,
    quarantined: Sequence[Quarantined],
    copies: Sequence[Copies],
    sizes: Sizes,
) -> Iterable[str]:
    counts = [one.photos for one in classes]
    few = [one.name for one in classes if one.validation < _FEW_VALIDATION]
    if quarantined:
        yield f"{len(quarantined):,} photos, rows or classes cannot be used as they are"
    if few:
        named = first_names(few, _SHOWN_NAMES)
        yield f"{len(few)} of {len(classes)} classes have under {_FEW_VALIDATION} photos to validate on: {named}"
    if max(counts) > _UNEQUAL * min(counts):
        yield f"the largest class has {max(counts) / min(counts):.0f} times the photos of the smallest"
    for kind in sorted({group.kind for group in copies}):
        alike = [group for group in copies if group.kind == kind]
        contradictory = sum(len(group.classes) > 1 for group in alike)
        across = sum(bool(group.training and group.test) for group in alike)
        if contradictory:
            why = "" if kind == "exact copies" else ": different cars on one background, or one photo labelled twice"
            yield f"{contradictory:,} groups of {kind} with two labels{why}; they are not used for validation"
        if across:
            yield f"{across:,} groups of {kind} across training and test"
    if sizes.odd:
        yield (
            f"{len(sizes.odd):,} photos are under {_SMALL_PX} px on a side or have an aspect ratio over"
            f" {_LONG_ASPECT:g}"
        )
    if not test:
        yield "no photos to predict; `submit` will need some"
