"""Loads a data folder into checked tables of photos. Everything unusable is quarantined with a reason."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from carcls.dataset.candidates import Candidates
from carcls.dataset.csv_rows import Refused, Row
from carcls.dataset.excluded import without_excluded
from carcls.dataset.labelled import labelled_candidates
from carcls.dataset.layouts import TEST_FOLDERS, DataFolder, Layout, LayoutKind, find_layout, find_test_folder
from carcls.dataset.names import class_order, path_key
from carcls.dataset.own_columns import HOLDOUT, VALIDATION, check_groups
from carcls.dataset.sample_submission import Sample, class_mismatch, ignored_samples, load_sample, try_load_sample
from carcls.dataset.scan import Scan, scan_photos
from carcls.dataset.table import Dataset, ImageTable, Quarantined, Unlabelled
from carcls.dataset.tree import join
from carcls.dataset.unlabelled import classes_only_in_test, unlabelled_candidates
from carcls.dataset.unread_tables import UNREAD_TABLE
from carcls.errors import DataError

_DEFAULT_LAYOUT = Layout()
_SHOWN_REASONS = 3


def load_dataset(root: Path, *, processes: int, layout: Layout = _DEFAULT_LAYOUT) -> Dataset:
    """Detects the layout, decodes every photo once and quarantines what cannot be used.

    processes: number of worker processes; 1 decodes in this process. More are spawned, so a calling script needs its
    `if __name__ == "__main__"`. Raises DataError if no layout fits or no labelled photo is usable.
    """
    found = find_layout(root, layout)
    sample, sample_problem = try_load_sample(root, layout)
    labelled, unlabelled = labelled_candidates(found), unlabelled_candidates(root, layout, sample)
    kept, excluded = without_excluded(labelled.rows, layout.exclude)
    labelled = replace(labelled, rows=kept, refused=(*labelled.refused, *excluded))
    scans = _scan((labelled, unlabelled), processes)
    train, broken = _split_readable(labelled.rows, scans[: len(labelled.rows)])
    train, held_out = _without_held_out_classes(train)
    refused = _in_order((*labelled.refused, *broken, *held_out, *labelled.unread))
    if not train:
        raise DataError(_nothing_to_train(found, labelled, refused))
    check_groups((row for row, _ in train), layout)
    class_names = sort_class_names({row.category for row, _ in train})
    lost = _classes_without_photo(labelled.classes, class_names, {row.path for row, _ in refused})
    test = _unlabelled(root, unlabelled, scans[len(labelled.rows) :], sample, layout)
    sample_problem = sample_problem or class_mismatch(sample, class_names)
    if find_test_folder(root, layout) is not None:  # else nothing is predicted
        sample_problem = sample_problem or _without_photos(sample, test)
    without = _quarantine(_outside(root, unlabelled), classes_only_in_test(unlabelled, class_names))
    return Dataset(
        class_names=class_names,
        train=_table(root, train, class_names),
        test=test.photos,
        sample_submission=test.sample_submission,
        quarantined=(*_quarantine("", refused), *lost, *test.quarantined, *without),
        train_scans=tuple(scan for _, scan in train),
        test_scans=test.scans,
        sample_problem=sample_problem,
        validation=_own_part(train, VALIDATION, folder="" if layout.split_column else found.validation),
        holdout=_own_part(train, HOLDOUT),
        own_groups=tuple(row.group for row, _ in train) if layout.group_column else (),
    )


def load_unlabelled(root: Path, *, processes: int, layout: Layout = _DEFAULT_LAYOUT) -> Unlabelled:
    """Only the photos to predict, each decoded once.

    Raises DataError if their folder cannot be used, SubmissionError if the sample cannot be followed.
    """
    sample = load_sample(root, layout)
    candidates = unlabelled_candidates(root, layout, sample)
    return _unlabelled(root, candidates, _scan((candidates,), processes), sample, layout)


def check_trainable(dataset: Dataset) -> None:
    """Raises DataError if the usable photos have only one class, or if no submission could follow the sample.

    Called before a search, so that it does not fail at its end.
    """
    if len(dataset.class_names) < 2:
        lost = f"; {len(dataset.quarantined)} photos, rows or classes cannot be used" if dataset.quarantined else ""
        raise DataError(
            f"{dataset.train.root}: every usable photo is of the class {dataset.class_names[0]!r}{lost};"
            f" expected photos of at least two classes{unread_tables_hint(dataset)}"
        )
    if dataset.sample_problem:
        raise DataError(dataset.sample_problem)


def unread_tables_hint(dataset: Dataset) -> str:
    """End of a message about too few classes that names an unread CSV file, if there is one."""
    found = [entry.path for entry in dataset.quarantined if entry.reason == UNREAD_TABLE]
    return f". {found[0]} was {UNREAD_TABLE}" if found else ""


def sort_class_names(names: set[str]) -> tuple[str, ...]:
    """Numeric names by value ('10' after '9'), then the others in natural order."""
    return tuple(sorted(names, key=class_order))


def _scan(parts: Sequence[Candidates], processes: int) -> list[Scan]:
    return scan_photos([part.root / row.path for part in parts for row in part.rows], processes=processes)


def _split_readable(rows: Sequence[Row], scans: Sequence[Scan]) -> tuple[list[tuple[Row, Scan]], list[Refused]]:
    """Readable rows with their scan, and unreadable rows with a reason."""
    readable = [(row, scan) for row, scan in zip(rows, scans, strict=True) if not scan.reason]
    broken = [(row, scan.reason) for row, scan in zip(rows, scans, strict=True) if scan.reason]
    return readable, broken


def _without_held_out_classes(
    rows: Sequence[tuple[Row, Scan]],
) -> tuple[list[tuple[Row, Scan]], list[Refused]]:
    """Rows of classes with a photo outside the user's own holdout, and the other rows with a reason."""
    trained = {row.category for row, _ in rows if row.part != HOLDOUT}
    reason = "in the holdout by data.split_column, as is every usable photo of its class, which cannot be trained"
    return (
        [(row, scan) for row, scan in rows if row.category in trained],
        [(row, reason) for row, _ in rows if row.category not in trained],
    )


def _own_part(rows: Sequence[tuple[Row, Scan]], part: str, *, folder: str = "") -> tuple[int, ...]:
    """Positions of the photos that a column puts into `part` or that are in `folder`; none if these are all photos."""
    inside = tuple(
        position
        for position, (row, _) in enumerate(rows)
        if row.part == part or (folder and row.path.startswith(f"{folder}/"))
    )
    return inside if len(inside) < len(rows) else ()


def _unlabelled(
    root: Path, candidates: Candidates, scans: Sequence[Scan], sample: Sample | None, layout: Layout
) -> Unlabelled:
    readable, broken = _split_readable(candidates.rows, scans)
    return Unlabelled(
        photos=_table(candidates.root, readable, ()),
        ids=tuple(row.id for row in candidates.rows),
        sample_submission=None if sample is None else sample.path,
        quarantined=(
            *_quarantine(_outside(root, candidates), _in_order((*candidates.refused, *broken))),
            *(Quarantined(name, name, reason) for name, reason in ignored_samples(root, layout)),
        ),
        scans=tuple(scan for _, scan in readable),
    )


def _without_photos(sample: Sample | None, test: Unlabelled) -> str:
    """Message if not one id of the sample has a readable photo, else empty."""
    if sample is None or len(test.photos):
        return ""
    first = next((entry for entry in test.quarantined if entry.id in sample.ids), None)
    example = f", such as {first.path}: {first.reason}" if first else ""
    return (
        f"{sample.path}: none of its {len(sample.ids):,} ids has a readable photo{example}. Put the photos to predict"
        f" into {' or '.join(TEST_FOLDERS)}, set data.test to their folder, or move {sample.path.name} away"
    )


def _in_order(refused: Iterable[Refused]) -> list[Refused]:
    """Sorted by line; entries without a line come last, sorted by path."""
    return sorted(refused, key=lambda entry: (not entry[0].line, entry[0].line, path_key(entry[0].path)))


def _outside(root: Path, candidates: Candidates) -> str:
    """Path prefix of photos outside the data folder."""
    return "" if candidates.root == root else f"{candidates.root.as_posix()}/"


def _quarantine(folder: str, refused: Iterable[Refused]) -> tuple[Quarantined, ...]:
    """folder: path prefix of photos outside the data folder."""
    return tuple(Quarantined(row.id, f"{folder}{row.path}", f"{row.where}{reason}") for row, reason in refused)


def _classes_without_photo(
    classes: Mapping[str, str], trained: Sequence[str], reported: Container[str]
) -> tuple[Quarantined, ...]:
    """reported: paths that are already quarantined, such as a folder that cannot be listed."""
    lost = sorted((name for name in classes if name not in trained and classes[name] not in reported), key=class_order)
    return tuple(Quarantined(name, classes[name], "a class without a usable photo; it is left out") for name in lost)


def _nothing_to_train(found: DataFolder, labelled: Candidates, refused: Sequence[Refused]) -> str:
    """One line with the count of each reason and its first occurrence."""
    source = found.labels or found.root / found.classes
    unusable = len(refused) - len(labelled.unread)
    if not unusable and not labelled.rows:
        return f"{source}: no usable photo: {'the file has no rows' if found.labels else 'the class folders are empty'}"
    first: dict[str, Row] = {}
    counts = Counter(reason for _, reason in refused)
    for row, reason in refused:
        first.setdefault(reason, row)
    told = [
        f"{count:,} × {reason} ({first[reason].where}{first[reason].path})" for reason, count in counts.most_common()
    ]
    more = f"; and {len(told) - _SHOWN_REASONS} other reasons" if len(told) > _SHOWN_REASONS else ""
    where = "<path>" if found.kind is LayoutKind.CSV else f"{join(found.classes, '<class>')}/<photo>"
    return (
        f"{source}: none of its {unusable:,} photos can be used; expected {found.root}/{where}."
        f" {'; '.join(told[:_SHOWN_REASONS])}{more}"
    )


def _table(root: Path, rows: Sequence[tuple[Row, Scan]], class_names: tuple[str, ...]) -> ImageTable:
    label_of = {name: label for label, name in enumerate(class_names)}
    return ImageTable(
        root=root,
        ids=tuple(row.id for row, _ in rows),
        paths=tuple(row.path for row, _ in rows),
        labels=np.array([label_of.get(row.category, -1) for row, _ in rows], dtype=np.int64),
        digests=tuple(scan.digest for _, scan in rows),
    )
