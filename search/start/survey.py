"""Looks at a data folder and this machine: what an experiment file is sized by. Decodes no photo."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from carcls.dataset.labelled import labelled_candidates
from carcls.dataset.layouts import DataFolder, Layout, LayoutKind, find_layout
from carcls.dataset.split_names import split_advice, split_folders
from carcls.dataset.tree import join
from carcls.dataset.unlabelled import count_unlabelled
from carcls.errors import DataError
from carcls.inspection.weights_at_hand import WeightsAtHand, keras_models_folder, weights_in
from carcls.photos.headers import read_header
from search.bench.reference import RATES
from search.errors import StartError
from search.worker.machine_memory import gpu_count

_SIZED_PHOTOS = 200
"""Photos whose headers are read to find the usual size."""
_HEAD_BYTES = 256 * 1024
"""Of a photo, to find its size: EXIF data may come first."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is there."""

    root: Path
    nested: bool
    """Whether class folders are nested."""
    layout: str
    photos: int
    """Labelled photos, by their names; unreadable ones are only found later."""
    classes: int
    smallest_class: int
    """Photos of the rarest class."""
    largest_class: int
    to_predict: int
    side_px: int
    """Median of the photos' shorter sides."""
    cpus: int
    gpus: int
    weights: tuple[WeightsAtHand, ...]
    """Weights files on this machine."""
    can_download: bool
    """Whether the server of the ImageNet weights answers. Not asked if there are weights."""


def look(root: Path, *, weights: Sequence[Path], reachable: Callable[[], bool]) -> Findings:
    """Looks at the photos in `root` and at this machine.

    weights: files and folders to search for weights before Keras's own folder of downloads. Raises DataError if no
    layout fits, StartError if one of `weights` is missing, if there are fewer than two classes, or if class folders are
    the parts of a split.
    """
    for place in weights:
        if not place.exists():
            raise StartError(f"{place}: no such file or folder; expected weights without the top (.h5, .npz)")
    found = _found(root)
    labelled = labelled_candidates(found)
    parts = [join(found.classes, name) for name in split_folders(labelled.classes)]
    if found.kind is LayoutKind.FOLDERS and parts:
        raise StartError(
            f"{root}: {' and '.join(parts)} {'is' if len(parts) == 1 else 'are'} {split_advice(root, parts)}. If these"
            " are classes, write an experiment file from a template, see 'carsearch init --list'"
        )
    counts = Counter(row.category for row in labelled.rows)
    if len(counts) < 2:
        raise StartError(
            f"{root}: photos of {len(counts)} {'class' if len(counts) == 1 else 'classes'}; expected two or more,"
            f" see 'carsearch data check {root}'"
        )
    at_hand = _weights_at_hand(weights)
    return Findings(
        root=root,
        nested=found.layout.nested,
        layout=str(found.kind),
        photos=len(labelled.rows),
        classes=len(counts),
        smallest_class=min(counts.values()),
        largest_class=max(counts.values()),
        to_predict=count_unlabelled(root, found.layout),
        side_px=usual_side_px([labelled.root / row.path for row in labelled.rows]),
        cpus=len(os.sched_getaffinity(0)),
        gpus=gpu_count(),
        weights=at_hand,
        can_download=not at_hand and reachable(),
    )


def _weights_at_hand(given: Sequence[Path]) -> tuple[WeightsAtHand, ...]:
    """Those given, and in Keras's own folder, which other work may have filled, those of backbones with a recipe."""
    found = weights_in(given)
    own = {(one.backbone, one.alpha) for one in found}
    cached = weights_in((keras_models_folder(),))
    return (*found, *(one for one in cached if (name := (one.backbone, one.alpha)) in RATES and name not in own))


def _found(root: Path) -> DataFolder:
    """The folder's layout; nested class folders are accepted if nothing else fits."""
    try:
        return find_layout(root, Layout())
    except DataError:
        try:
            return find_layout(root, Layout(nested=True))
        except DataError:
            pass
        raise


def usual_side_px(photos: Sequence[Path]) -> int:
    """Median of the shorter sides of some of the photos, in px. Raises StartError if none can be read."""
    step = max(1, len(photos) // _SIZED_PHOTOS)
    sides = [side for path in photos[::step] if (side := _side_px(path))]
    if not sides:
        raise StartError(f"none of the photos looked at can be read, such as {photos[0]}: see 'carsearch data check'")
    return round(median(sides))


def _side_px(path: Path) -> int:
    """The shorter side, or 0 if the file is no photo."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read(_HEAD_BYTES))
    except (OSError, DataError):
        return 0
    return min(header.width, header.height)
