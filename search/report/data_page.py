"""The report of a data folder: one page with its classes, sizes, copies, odd photos and augmentations."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carcls.catalog import AUGMENT_POLICIES
from carcls.dataset.table import Dataset
from carcls.inspection.findings import ClassCount, Findings
from carcls.inspection.pictures import augmented_png
from carcls.inspection.quality import Outliers, Quality, measure, outliers
from search.report.chart_values import Json, rounded
from search.report.html import environment, page_assets, write_page
from search.report.photos import photo_urls

_PER_CLASS = 12
_MOST_CLASSES = 60
"""Classes with a contact sheet, the smallest ones first."""
_MOST_COPIES, _PER_COPY = 12, 4
_MOST_OUTLIERS = 12
_MOST_POINTS = 1500
"""Photos in the chart of sizes; a seeded sample of more."""
_AUGMENTED, _VIEWS = 2, 5
_ROWS = 20
"""Classes and unusable photos that a table shows at first."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One photo with its caption."""

    path: str
    url: str | None
    caption: str


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A titled row of photos."""

    title: str
    photos: tuple[Shown, ...]
    count: int
    """Photos that the row stands for; more than are shown."""


@dataclass(frozen=True, slots=True)
class DataPage:
    """The page's content; the template only prints it."""

    name: str
    found: Findings
    largest: int
    """Photos of the largest class."""
    sheets: tuple[PhotoRow, ...]
    copies: tuple[PhotoRow, ...]
    outliers: tuple[PhotoRow, ...]
    odd: PhotoRow | None
    augmented: tuple[tuple[str, str], ...]
    """(policy, data URL of its picture)"""
    charts: Json


def write_data_page(path: Path, dataset: Dataset, found: Findings, *, seed: int, threads: int) -> None:
    """Reads every training photo once, then writes the page atomically. Raises OSError."""
    page = _data_page(dataset, found, seed=seed, threads=threads)
    html = environment().get_template("data.html")
    write_page(path, html.render(page=page, rows=_ROWS, shown=page.charts["charts"], **page_assets(page.charts)))


def _data_page(dataset: Dataset, found: Findings, *, seed: int, threads: int) -> DataPage:
    root, rng = dataset.train.root, np.random.default_rng(np.random.SeedSequence(seed))
    chosen = _sheet_paths(dataset, found.classes, rng)
    unusual = outliers(measure(root, dataset.train.paths, threads=threads))
    shown_copies = found.copies[:_MOST_COPIES]
    wanted = [path for paths in chosen.values() for path in paths]
    wanted += [path for group in shown_copies for path in group.paths[:_PER_COPY]]
    wanted += [one.path for kind in _kinds(unusual) for one in kind[1][:_MOST_OUTLIERS]]
    urls = photo_urls(root, dict.fromkeys([*wanted, *found.sizes.odd[:_MOST_OUTLIERS]]))
    counts = {one.name: one.photos for one in found.classes}

    def row(title: str, paths: Iterable[str], count: int, captions: dict[str, str] | None = None) -> PhotoRow:
        photos = tuple(Shown(path, urls.get(path), (captions or {}).get(path, "")) for path in paths)
        return PhotoRow(title, photos, count)

    return DataPage(
        name=root.resolve().name or str(root),
        found=found,
        largest=max(counts.values(), default=1),
        sheets=tuple(row(name, paths, counts[name]) for name, paths in chosen.items()),
        copies=tuple(
            row(f"{group.kind}, {group.place}", group.paths[:_PER_COPY], len(group.paths), {p: p for p in group.paths})
            for group in shown_copies
        ),
        outliers=tuple(
            row(title, [one.path for one in some[:_MOST_OUTLIERS]], len(some), {one.path: one.path for one in some})
            for title, some in _kinds(unusual)
            if some
        ),
        odd=row("odd sizes", found.sizes.odd[:_MOST_OUTLIERS], len(found.sizes.odd)) if found.sizes.odd else None,
        augmented=_augmented(root, chosen, seed=seed),
        charts=_charts(dataset, rng),
    )


def _sheet_paths(dataset: Dataset, classes: Sequence[ClassCount], rng: np.random.Generator) -> dict[str, list[str]]:
    """A sample of each class, the smallest classes first."""
    shown = sorted(classes, key=lambda one: (one.photos, one.name))[:_MOST_CLASSES]
    labels = np.asarray(dataset.train.labels)
    found = {}
    for one in shown:
        rows = np.flatnonzero(labels == dataset.class_names.index(one.name))
        chosen = np.sort(rng.permutation(rows)[:_PER_CLASS])
        found[one.name] = [dataset.train.paths[int(at)] for at in chosen]
    return found


def _kinds(found: Outliers) -> tuple[tuple[str, tuple[Quality, ...]], ...]:
    return ("blurred", found.blurred), ("very dark", found.dark), ("very bright", found.bright)


def _augmented(root: Path, chosen: dict[str, list[str]], *, seed: int) -> tuple[tuple[str, str], ...]:
    photos = [root / paths[0] for paths in list(chosen.values())[-_AUGMENTED:] if paths]
    pictures = (
        (policy, augmented_png(policy, photos, views=_VIEWS, seed=seed))
        for policy in AUGMENT_POLICIES
        if policy != "none"
    )
    return tuple((policy, f"data:image/png;base64,{base64.b64encode(png).decode()}") for policy, png in pictures)


def _charts(dataset: Dataset, rng: np.random.Generator) -> Json:
    """Width against height of the training photos."""
    scans = dataset.train_scans
    rows = range(len(scans)) if len(scans) <= _MOST_POINTS else sorted(rng.permutation(len(scans))[:_MOST_POINTS])
    sizes = {(scans[at].width, scans[at].height): 0 for at in rows}
    for at in rows:
        sizes[scans[at].width, scans[at].height] += 1
    items = [
        {"p": [[rounded(width), rounded(height)]], "x": f"{width} x {height} px, {count} photos"}
        for (width, height), count in sorted(sizes.items())
    ]
    if not items:
        return {"trials": {}, "charts": {}}
    chart = {
        "label": "Height of the photos by width",
        "x": {"label": "width, px"},
        "y": {"label": "height, px"},
        "groups": [{"name": "photos", "colour": "baseline", "kind": "dots", "items": items}],
    }
    return {"trials": {}, "charts": {"sizes": chart}}
