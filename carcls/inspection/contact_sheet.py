"""A contact sheet of a data folder: one row of photos per class, then copies and odd photos.

Drawn with matplotlib, whose font has Latin, Greek and Cyrillic letters; OpenCV supports only ASCII.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from carcls.dataset.table import Dataset
from carcls.errors import DataError
from carcls.inspection.findings import Findings
from carcls.photos.photo import decode_bytes, read_photo_bytes
from carcls.system import atomic

_CELL_PX = (96, 128)
"""(height, width) of one photo."""
_GAP_PX = 4
_TITLE_PX = 22
_PER_ROW = 8
_MOST_CLASSES = 60
_MOST_COPIES = 6
_DPI = 100
_PAPER = 255


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row of photos with its title."""

    title: str
    paths: tuple[str, ...]
    """Relative to the data folder, at most 8."""


def sheet_rows(dataset: Dataset, findings: Findings, *, seed: int) -> list[SheetRow]:
    """Chooses the photos to show: a seeded sample of each class, then groups of copies, then odd photos. Pure."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    of_class: dict[int, list[str]] = defaultdict(list)
    for path, label in zip(dataset.train.paths, dataset.train.labels.tolist(), strict=True):
        of_class[label].append(path)
    rows = []
    for label, one in enumerate(findings.classes[:_MOST_CLASSES]):
        chosen = sorted(rng.choice(one.photos, min(_PER_ROW, one.photos), replace=False).tolist())
        rows.append(SheetRow(f"{one.name}: {one.photos:,} photos", tuple(of_class[label][at] for at in chosen)))
    for group in findings.copies[:_MOST_COPIES]:
        rows.append(SheetRow(f"{group.kind}, {group.place}", group.paths[:_PER_ROW]))
    if findings.sizes.odd:
        rows.append(SheetRow(f"odd sizes: {len(findings.sizes.odd):,} photos", findings.sizes.odd[:_PER_ROW]))
    return rows


def write_contact_sheet(rows: Sequence[SheetRow], root: Path, path: Path) -> None:
    """Writes the rows as a PNG, atomically. Unreadable photos leave their cell empty. Raises OSError."""
    height, width = _CELL_PX[0] + _GAP_PX, _CELL_PX[1] + _GAP_PX
    line = _TITLE_PX + height
    sheet = np.full((max(1, len(rows)) * line + _GAP_PX, _PER_ROW * width + _GAP_PX, 3), _PAPER, np.uint8)
    for number, row in enumerate(rows):
        for place, photo in enumerate(row.paths):
            top, left = number * line + _TITLE_PX, _GAP_PX + place * width
            sheet[top : top + _CELL_PX[0], left : left + _CELL_PX[1]] = _cell(root / photo)
    figure = Figure(figsize=(sheet.shape[1] / _DPI, sheet.shape[0] / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.figimage(sheet)
    for number, row in enumerate(rows):
        figure.text(
            _GAP_PX / sheet.shape[1],
            1 - (number * line + _TITLE_PX / 2) / sheet.shape[0],
            _printable(row.title),
            fontsize=9,
            verticalalignment="center",
            parse_math=False,  # a class may be called $x$
        )
    with atomic.published(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn for scripts without a font
        figure.savefig(temporary, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})  # larger but faster


def _cell(path: Path) -> NDArray[np.uint8]:
    """uint8 RGB of `_CELL_PX`: the whole photo, centred on white."""
    height, width = _CELL_PX
    cell = np.full((height, width, 3), _PAPER, np.uint8)
    try:
        photo = decode_bytes(read_photo_bytes(path))
    except DataError:
        return cell
    scale = min(height / photo.shape[0], width / photo.shape[1])
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell


def _printable(text: str) -> str:
    """The text as one line that matplotlib can draw."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)[:120]
