"""The output of `carsearch data check`: findings as lines, with long lists shortened."""

from collections import Counter
from collections.abc import Sequence

from carcls.dataset.table import Quarantined
from carcls.inspection.findings import Copies, Findings, Quantiles
from carcls.inspection.folder_check import pixel_store_bytes, suggested_shape
from carcls.splits.extra import ExtraPhotos
from search.terminal.console import escape_field
from search.terminal.formatting import size_text
from search.terminal.text_table import table_lines

_SHOWN = 10
_SHOWN_CLASSES = 40


def report_lines(found: Findings, *, sizes_px: Sequence[int]) -> list[str]:
    """The report without its warnings. sizes_px: image sizes to estimate the pixel store for."""
    total = sum(one.photos for one in found.classes)
    held_out = sum(one.validation for one in found.classes)
    return [
        f"{total:,} photos to train on, {len(found.classes)} classes; {found.test:,} to predict",
        *_class_lines(found),
        *_size_lines(found),
        *_shape_lines(found, sizes_px),
        f"split: {total - held_out - found.held_out - found.in_no_part:,} to train, {held_out:,} to validate: "
        + (
            f"those in {found.validation_from}, regardless of data.validation"
            if found.validation_from
            else f"data.validation.fraction={found.fraction:g}"
        )
        + (f"; {found.held_out:,} in your holdout" if found.held_out else "")
        + (f"; {found.in_no_part:,} in no part" if found.in_no_part else ""),
        *_group_lines(found),
        "pixel store: "
        + ", ".join(f"{size_text(pixel_store_bytes(total, size_px))} at {size_px} px" for size_px in sizes_px),
        *([f"sample: {found.sample}, whose ids, order and header `submit` follows"] if found.sample else []),
        *_copy_lines(found.copies),
        *_unusable_lines(found),
    ]


def extra_line(extra: ExtraPhotos, left_out: Sequence[Quarantined]) -> str:
    """Number of extra photos, and how many are left out."""
    return (
        f"extra: {len(extra.photos):,} photos of {len(extra.class_names)} classes for the final training;"
        f" {len(left_out):,} left out"
    )


def row_lines(counts: dict[str, int]) -> list[str]:
    """Counts of a CSV file whose photos are missing."""
    rows = [(name, f"{count:,}") for name, count in counts.items()]
    return [
        f"{sum(counts.values()):,} photos named, {len(counts)} classes; no photo was opened",
        *_cut([f"  {line}" for line in table_lines(rows)], _SHOWN_CLASSES),
    ]


def _class_lines(found: Findings) -> list[str]:
    rows = [(one.name, f"{one.photos:,}", f"{one.validation:,}") for one in found.classes]
    header, *lines = table_lines([("class", "photos", "validation"), *rows])
    return [f"  {header}", *_cut([f"  {line}" for line in lines], _SHOWN_CLASSES)]


def _size_lines(found: Findings) -> list[str]:
    sizes = found.sizes
    common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes.common)
    return [
        f"sizes: width {_spread(sizes.width_px)} px, height {_spread(sizes.height_px)} px;"
        f" most frequent {common}; {size_text(sizes.byte_count)} in total",
        f"aspect: {_spread(sizes.aspect, 2)}; {sizes.landscape:,} landscape, {sizes.portrait:,} portrait,"
        f" {sizes.square:,} square",
        *([f"odd: {len(sizes.odd):,}", *_cut([f"  {escape_field(path)}" for path in sizes.odd])] if sizes.odd else []),
    ]


def _shape_lines(found: Findings, sizes_px: Sequence[int]) -> list[str]:
    shapes = [(side_px, suggested_shape(found.sizes, side_px)) for side_px in sizes_px]
    return [
        f"shape: image_size: [{shape[0]}, {shape[1]}] has the shape of most photos and about the pixels of {side_px}"
        for side_px, shape in shapes
        if shape is not None
    ]


def _group_lines(found: Findings) -> list[str]:
    if found.own_groups is None:
        return []
    count, largest = found.own_groups
    return [f"groups: {count:,} of two photos or more, the largest of {largest:,}; each stays on one side"]


def _copy_lines(copies: Sequence[Copies]) -> list[str]:
    if not copies:
        return ["copies and look-alikes: none"]
    places = Counter((group.kind, group.place.split(":")[0]) for group in copies)
    found = ", ".join(f"{count:,} {kind} {place}" for (kind, place), count in places.items())
    lines = [
        f"  {group.kind}, {group.place}: {', '.join(map(escape_field, group.paths[:3]))}"
        + (f" and {len(group.paths) - 3} more" if len(group.paths) > 3 else "")
        for group in copies
    ]
    return [f"copies and look-alikes: {len(copies):,} groups: {found}", *_cut(lines)]


def _unusable_lines(found: Findings) -> list[str]:
    if not found.quarantined:
        return ["unusable: none"]
    return [
        f"unusable: {len(found.quarantined):,}",
        *_cut([f"  {escape_field(entry.path or entry.id)}: {entry.reason}" for entry in found.quarantined]),
    ]


def _cut(lines: list[str], shown: int = _SHOWN) -> list[str]:
    return lines if len(lines) <= shown else [*lines[:shown], f"  and {len(lines) - shown:,} more"]


def _spread(values: Quantiles, digits: int = 0) -> str:
    return f"{values.low:.{digits}f} to {values.high:.{digits}f}, median {values.median:.{digits}f}"
