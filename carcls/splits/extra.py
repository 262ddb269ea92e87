"""Extra labelled photos from another folder: trained on in addition, never validated, scored or held out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from carcls.catalog import nearest_name
from carcls.dataset.layouts import TEST_FOLDERS, Layout
from carcls.dataset.loading import load_dataset, sort_class_names
from carcls.dataset.names import first_names
from carcls.dataset.scan import Scan
from carcls.dataset.table import Dataset, ImageTable, Quarantined
from carcls.errors import DataError
from carcls.photos.duplicates import linked_groups
from carcls.splits.split import Split, joined_tables
from carcls.splits.split_files import parse_parts, write_parts

UNLABELLED = "unlabelled"
"""Stands in a file of unlabelled photos in place of a class."""
_PART = "train"
_SHOWN_CLASSES = 5


@dataclass(frozen=True, eq=False)
class ExtraPhotos:
    """Photos of some of a study's classes, in a folder of their own."""

    class_names: tuple[str, ...]
    """Of these photos; each has one or more."""
    photos: ImageTable
    """Labels are indices into this `class_names`."""

    def table(self, class_names: Sequence[str]) -> ImageTable:
        """The photos with labels among a study's classes. Raises DataError for a class that is not among them."""
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise DataError(
                f"{self.photos.root}: no such classes in this study: {first_names(unknown, _SHOWN_CLASSES)}"
            )
        label_of = np.array([class_names.index(name) for name in self.class_names], np.int64)
        return replace(self.photos, labels=label_of[self.photos.labels])


def load_extra(
    root: Path, dataset: Dataset, *, processes: int, nested: bool
) -> tuple[ExtraPhotos, tuple[Quarantined, ...]]:
    """The usable photos of a folder laid out like a data folder, and what is left out, with absolute paths.

    Left out are unreadable photos, and copies and look-alikes of any labelled photo of `dataset`: each of those may be
    validated by some fold. Labels do not count in this comparison, which therefore finds as much as for photos without
    labels. The folder's own unlabelled photos and its split are ignored.

    processes: as in `load_dataset`. nested: whether class folders are nested. Raises DataError if a class is not one of
    the dataset's, or if no photo is left.
    """
    found = load_dataset(root, processes=processes, layout=Layout(nested=nested))
    _check_classes(found, dataset)
    originals = _look_alikes(dataset, found.train, found.train_scans)
    kept = [row for row in range(len(found.train)) if row not in originals]
    left_out = (
        *(
            Quarantined(entry.id, _absolute(root, entry.path), entry.reason)
            for entry in found.quarantined
            if entry.path.partition("/")[0] not in TEST_FOLDERS
        ),
        *(
            Quarantined(found.train.ids[row], _absolute(root, found.train.paths[row]), _reason(dataset, original))
            for row, original in originals.items()
        ),
    )
    if not kept:
        raise DataError(
            f"{root} (data.extra): every photo is a copy or a look-alike of one in {dataset.train.root}; expected other"
            " photos of the same classes, or no data.extra"
        )
    return extra_photos(found.train.select(kept), found.class_names), left_out


def unlabelled_photos(dataset: Dataset) -> ExtraPhotos | None:
    """The photos to predict that look like no labelled one, as of one class without a name; None if there are none.

    A twin of a validation photo would bring that photo's label into training.
    """
    originals = _look_alikes(dataset, dataset.test, dataset.test_scans) if len(dataset.test) else {}
    kept = [row for row in range(len(dataset.test)) if row not in originals]
    if not kept:
        return None
    table = dataset.test.select(kept)
    return ExtraPhotos((UNLABELLED,), replace(table, labels=np.zeros(len(table), np.int64)))


def photos_to_label(dataset: Dataset) -> ExtraPhotos:
    """`unlabelled_photos` for `data.pseudo`, which needs some: raises DataError if there are none."""
    found = unlabelled_photos(dataset)
    if found is None:
        raise DataError(
            f"{dataset.train.root}: data.pseudo needs photos to predict that are no look-alikes of labelled ones;"
            " add a test folder, set data.test, or remove data.pseudo"
        )
    return found


def extra_photos(table: ImageTable, class_names: Sequence[str]) -> ExtraPhotos:
    """The photos of a table, with only the classes that they have. class_names: what the table's labels index."""
    present = sort_class_names({class_names[label] for label in table.labels})
    labels = np.array([present.index(class_names[label]) for label in table.labels], np.int64)
    return ExtraPhotos(present, replace(table, labels=labels))


def write_extra(extra: ExtraPhotos, path: Path) -> None:
    """Writes extra.csv atomically; `parse_extra` reads it back."""
    write_parts(path, extra.class_names, {_PART: extra.photos}, ())


def parse_extra(content: bytes, path: Path, root: Path) -> ExtraPhotos:
    """The photos from a file's content. path: for messages. root: folder of the photos. Raises DataError."""
    class_names, parts, _, _ = parse_parts(content, path, root, (_PART,))
    return ExtraPhotos(class_names, parts[_PART])


def with_extra(split: Split, extra: ExtraPhotos) -> Split:
    """The split with these photos after those that it trains on; validation and holdout are as before.

    The paths of extra photos are absolute. Raises DataError if one of them is validated or held out, or if a class is
    not one of the split's.
    """
    table = extra.table(split.class_names)
    scored = {*split.validation.digests, *(split.holdout.digests if split.holdout else ())}
    wrong = [path for path, digest in zip(table.paths, table.digests, strict=True) if digest in scored]
    if wrong:
        raise DataError(f"{table.root / wrong[0]}: an extra photo is one that is validated or held out")
    paths = tuple(_absolute(table.root, path) for path in table.paths)
    return replace(split, train=joined_tables(split.train, replace(table, paths=paths)))


def _absolute(root: Path, path: str) -> str:
    return (root.absolute() / path).as_posix()


def _check_classes(found: Dataset, dataset: Dataset) -> None:
    unknown = [name for name in found.class_names if name not in dataset.class_names]
    if not unknown:
        return
    near = nearest_name(unknown[0], list(dataset.class_names)) if len(unknown) == 1 else None
    hint = f"did you mean {near!r}?" if near else f"expected {first_names(dataset.class_names, _SHOWN_CLASSES)}"
    raise DataError(
        f"{found.train.root} (data.extra): no such classes in {dataset.train.root}:"
        f" {first_names(unknown, _SHOWN_CLASSES)}; {hint}. Rename or remove these folders or rows"
    )


def _look_alikes(dataset: Dataset, others: ImageTable, scans: Sequence[Scan]) -> dict[int, int]:
    """Row of each other photo that looks like labelled ones -> row of the first of these. scans: one for each photo."""
    own = len(dataset.train)
    groups = linked_groups(
        (*dataset.train.digests, *others.digests),
        [scan.thumbnail for scan in (*dataset.train_scans, *scans)],
        [*dataset.train.labels.tolist(), *(-1 for _ in range(len(others)))],
    )
    return {row - own: group[0] for group in groups if group[0] < own for row in group if row >= own}


def _reason(dataset: Dataset, original: int) -> str:
    return f"looks like {dataset.train.paths[original]}, which may be validated; not trained on"
