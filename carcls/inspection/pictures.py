"""Pictures about a classifier as PNG bytes: confusion matrix, reliability, mistakes, augmented photos.

Drawn with matplotlib; names from users are never parsed as formulas.
"""

import io
import warnings
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from carcls.augment.views import view
from carcls.errors import DataError
from carcls.photos.photo import decode_bytes, read_photo_bytes
from carcls.scoring.diagnosis import Reliability

_DPI = 100
_COLUMNS = 6
_PHOTO_PX, _GAP_PX, _TITLE_PX, _GREY = 96, 6, 18, 230
_NAMED_CLASSES = 30
"""Beyond it, the names on the confusion matrix's axes would not be readable."""


def confusion_png(counts: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Counts (classes, classes), rows true, as colours by share of the row, with numbers for up to 30 classes."""
    classes = len(names)
    side_in = float(np.clip(1.8 + 0.34 * classes, 4.0, 12.0))
    figure = Figure(figsize=(side_in, side_in), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= _NAMED_CLASSES:
        labels = [_short(name) for name in names]
        axes.set_xticks(range(classes), labels, rotation=60, ha="right", parse_math=False)
        axes.set_yticks(range(classes), labels, parse_math=False)
        for true, row in enumerate(counts):
            for predicted, count in enumerate(row):
                if count:
                    colour = "white" if shares[true, predicted] > 0.5 else "black"
                    axes.text(predicted, true, str(count), ha="center", va="center", color=colour, fontsize=8)
    return _png(figure)


def reliability_png(found: Reliability) -> bytes:
    """Share of right answers by confidence, beside the diagonal of perfect calibration."""
    figure = Figure(figsize=(5.0, 4.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
    axes.plot([one.confidence for one in found.bins], [one.accuracy for one in found.bins], marker="o")
    for one in found.bins:
        axes.annotate(
            str(one.count), (one.confidence, one.accuracy), xytext=(0, 6), textcoords="offset points", fontsize=8,
            ha="center",
        )  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.06), xlabel="confidence", ylabel="share that is right")
    axes.set_title(f"calibration error {100 * found.error:.1f} %; numbers count photos", fontsize=9)
    return _png(figure)


def photos_png(photos: Sequence[tuple[Path, str]]) -> bytes:
    """Photos in rows of six, each with its title. Unreadable ones leave a grey cell."""
    return _cells([(_photo(path), title) for path, title in photos])


def augmented_png(policy: str, photos: Sequence[Path], *, views: int, seed: int) -> bytes:
    """A row for each readable photo: the photo, then `views` views of it as training would see them.

    policy: a built-in name or the path of a policy file. Raises ConfigError for an unusable policy.
    """
    rows = []
    for index, path in enumerate(photos):
        plain = _photo(path)
        if plain is None:
            continue
        drawn = [view(policy, plain, seed=seed, view=number, index=index) for number in range(views)]
        rows += [(plain, path.name), *((one, f"view {number}") for number, one in enumerate(drawn))]
    return _cells(rows, columns=views + 1)


def _photo(path: Path) -> NDArray[np.uint8] | None:
    """Square uint8 RGB as training sees it, or None if it cannot be read."""
    try:
        photo = decode_bytes(read_photo_bytes(path))
    except DataError:
        return None
    return cv2.resize(photo, (_PHOTO_PX, _PHOTO_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _cells(cells: Sequence[tuple[NDArray[np.uint8] | None, str]], *, columns: int = _COLUMNS) -> bytes:
    """Photos in a grid with a title above each. Placed by hand: a layout of many axes takes seconds."""
    rows, width, height = max(1, ceil(len(cells) / columns)), _PHOTO_PX + _GAP_PX, _PHOTO_PX + _TITLE_PX
    sheet = np.full((rows * height + _GAP_PX, columns * width + _GAP_PX, 3), 255, np.uint8)
    figure = Figure(figsize=(sheet.shape[1] / _DPI, sheet.shape[0] / _DPI), dpi=_DPI)
    for at, (photo, title) in enumerate(cells):
        top, left = (at // columns) * height + _TITLE_PX, (at % columns) * width + _GAP_PX
        sheet[top : top + _PHOTO_PX, left : left + _PHOTO_PX] = _GREY if photo is None else photo
        x, y = left / sheet.shape[1], 1 - (top - 4) / sheet.shape[0]
        figure.text(x, y, _short(title, 22), fontsize=6, verticalalignment="bottom", parse_math=False)
    figure.figimage(sheet)
    return _png(figure)


def _short(name: str, most: int = 18) -> str:
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn for scripts without a font
        figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": None})
    return target.getvalue()
