"""What `carsearch data check` prints: findings as lines, long lists cut with a count."""

from collections import Counter
from collections.abc import Sequence

from carcls.inspection.findings import Copies, Findings, Quantiles
from carcls.inspection.folder_check import pixel_store_bytes
from search.terminal.console import field

_SHOWN = 10
_SHOWN_CLASSES = 40


def report_lines(found: Findings, *, sizes_px: Sequence[int]) -> list[str]:
    """The whole report but its warnings. sizes_px: image sizes for which the pixel store is predicted."""
    total = sum(one.photos for one in found.classes)
    held_out = sum(one.validation for one in found.classes)
    return [
        f"{total:,} photos to train on, {len(found.classes)} classes; {found.test:,} to predict",
        *_class_lines(found),
        *_size_lines(found),
        f"split: {total - held_out:,} to train, {held_out:,} to validate: "
        + (
            f"those in {found.validation_folder}, whatever data.validation says"
            if found.validation_folder
            else f"data.validation.fraction={found.fraction:g}"
        ),
        "pixel store: "
        + ", ".join(f"{_bytes(pixel_store_bytes(total, size_px))} at {size_px} px" for size_px in sizes_px),
        *([f"sample: {found.sample}, whose ids, order and header `submit` follows"] if found.sample else []),
        *_copy_lines(found.copies),
        *_unusable_lines(found),
    ]


def row_lines(counts: dict[str, int]) -> list[str]:
    """Counts of a folder whose photos are not there."""
    width = max((len(name) for name in counts), default=0)
    lines = [f"{sum(counts.values()):,} photos named, {len(counts)} classes; no photo was opened"]
    return lines + _cut([f"  {name:<{width}}  {count:>7,}" for name, count in counts.items()], _SHOWN_CLASSES)


def _class_lines(found: Findings) -> list[str]:
    width = max(len("class"), *(len(one.name) for one in found.classes))
    lines = [f"  {one.name:<{width}}  {one.photos:>7,}  {one.validation:>10,}" for one in found.classes]
    return [f"  {'class':<{width}}  {'photos':>7}  {'validation':>10}", *_cut(lines, _SHOWN_CLASSES)]


def _size_lines(found: Findings) -> list[str]:
    sizes = found.sizes
    common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes.common)
    return [
        f"sizes: width {_spread(sizes.width_px)} px, height {_spread(sizes.height_px)} px;"
        f" most frequent {common}; {_bytes(sizes.byte_count)} in all",
        f"aspect: {_spread(sizes.aspect, 2)}; {sizes.blackbox:,} blackbox, {sizes.portrait:,} portrait,"
        f" {sizes.square:,} square",
        *([f"odd: {len(sizes.odd):,}", *_cut([f"  {field(path)}" for path in sizes.odd])] if sizes.odd else []),
    ]


def _copy_lines(copies: Sequence[Copies]) -> list[str]:
    if not copies:
        return ["copies and look-alikes: none"]
    places = Counter((group.kind, group.place.split(":")[0]) for group in copies)
    told = ", ".join(f"{count:,} {kind} {place}" for (kind, place), count in places.items())
    lines = [
        f"  {group.kind}, {group.place}: {', '.join(map(field, group.paths[:3]))}"
        + (f" and {len(group.paths) - 3} more" if len(group.paths) > 3 else "")
        for group in copies
    ]
    return [f"copies and look-alikes: {len(copies):,} groups: {told}", *_cut(lines)]


def _unusable_lines(found: Findings) -> list[str]:
    if not found.quarantined:
        return ["unusable: none"]
    return [
        f"unusable: {len(found.quarantined):,}",
        *_cut([f"  {field(entry.path or entry.id)}: {entry.reason}" for entry in found.quarantined]),
    ]


def _cut(lines: list[str], shown: int = _SHOWN) -> list[str]:
    return lines if len(lines) <= shown else [*lines[:shown], f"  and {len(lines) - shown:,} more"]


def _spread(values: Quantiles, digits: int = 0) -> str:
    return f"{values.low:.{digits}f} to {values.high:.{digits}f}, half under {values.median:.{digits}f}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
