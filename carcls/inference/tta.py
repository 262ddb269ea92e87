"""Test-time augmentation (TTA): views of a photo, and the average of what a model predicts for them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.catalog import nearest_name
from carcls.errors import ConfigError
from carcls.input.pixels import Pixels as StoredPixels

if TYPE_CHECKING:
    import keras

Pixels = NDArray[np.uint8]
"""(n, height, width, 3) RGB, 0..255."""
ByView = Mapping[str, NDArray[np.floating]]
"""Of each view: probabilities (n, classes) of the same photos in the same order."""

PLAIN = "plain"
ZOOM_KEEPS = 0.9
"""Share of the side that `zoom` shows; also the share of the side that the whole photo takes in `zoom_out`."""
ZOOM_MORE_KEEPS = 0.8
"""Share of the side that `zoom_more` shows."""
CROP_KEEPS = 0.875
"""Share of the side that a crop shows: 224 of 256 px, as in the ten crops of Krizhevsky et al. (2012)."""
SHIFT = 0.05
"""Of the side; what comes in from outside is the border's reflection."""
BRIGHTNESS = 1.15
"""Factor of `brighter`; `darker` divides by it."""


def _flip(pixels: Pixels) -> Pixels:
    return pixels[:, :, ::-1]


def _margins(pixels: Pixels, keeps: float) -> tuple[int, int]:
    """Rows at the top and columns at the left that a centred part with this share of each side leaves out."""
    top, left = (max(1, round(side * (1.0 - keeps) / 2)) for side in pixels.shape[1:3])
    return top, left


def _enlarged(pixels: Pixels, top: int, left: int, margins: tuple[int, int]) -> Pixels:
    """The part from (top, left) that is twice the margins smaller, at the size of the whole."""
    height, width = pixels.shape[1:3]
    bottom, right = top + height - 2 * margins[0], left + width - 2 * margins[1]
    enlarged = np.empty(pixels.shape, np.uint8)
    for photo, target in zip(pixels, enlarged, strict=True):
        part = np.ascontiguousarray(photo[top:bottom, left:right])
        cv2.resize(part, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return enlarged


def _zoom(pixels: Pixels, keeps: float = ZOOM_KEEPS) -> Pixels:
    margins = _margins(pixels, keeps)
    return _enlarged(pixels, *margins, margins)


def _zoom_out(pixels: Pixels) -> Pixels:
    top, left = _margins(pixels, ZOOM_KEEPS)
    height, width = pixels.shape[1:3]
    out = np.empty(pixels.shape, np.uint8)
    for photo, target in zip(pixels, out, strict=True):
        whole = np.ascontiguousarray(photo)
        small = cv2.resize(whole, (width - 2 * left, height - 2 * top), interpolation=cv2.INTER_AREA)
        cv2.copyMakeBorder(small, top, top, left, left, cv2.BORDER_REFLECT_101, dst=target)
    return out


def _crop_left(pixels: Pixels, *, bottom: bool) -> Pixels:
    margins = _margins(pixels, CROP_KEEPS)
    return _enlarged(pixels, 2 * margins[0] if bottom else 0, 0, margins)


def _crop_right(pixels: Pixels, *, bottom: bool) -> Pixels:
    """The mirror image of the left crop of the mirror image, to the bit."""
    return _flip(_crop_left(_flip(pixels), bottom=bottom))


def _shift(pixels: Pixels, *, left: bool) -> Pixels:
    side = pixels.shape[2]
    offset = max(1, round(side * SHIFT))
    columns = np.pad(np.arange(side), offset, mode="reflect")
    return pixels[:, :, columns[2 * offset :] if left else columns[:side]]


def _brighten(pixels: Pixels, factor: float) -> Pixels:
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[pixels]


_UNFLIPPED: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        "zoom_more": lambda pixels: _zoom(pixels, ZOOM_MORE_KEEPS),
        "zoom_out": _zoom_out,
        "crop_centre": lambda pixels: _zoom(pixels, CROP_KEEPS),
        "crop_top_left": lambda pixels: _crop_left(pixels, bottom=False),
        "crop_top_right": lambda pixels: _crop_right(pixels, bottom=False),
        "crop_bottom_left": lambda pixels: _crop_left(pixels, bottom=True),
        "crop_bottom_right": lambda pixels: _crop_right(pixels, bottom=True),
    }
)
"""Scales and crops, each of which has a mirror image under the same name with `_flip`."""


def _flipped(view: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    return lambda pixels: _flip(view(pixels))


VIEWS: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        PLAIN: lambda pixels: pixels,
        "flip": _flip,
        "zoom": _zoom,
        "zoom_flip": _flipped(_zoom),
        "shift_left": lambda pixels: _shift(pixels, left=True),
        "shift_right": lambda pixels: _shift(pixels, left=False),
        "brighter": lambda pixels: _brighten(pixels, BRIGHTNESS),
        "darker": lambda pixels: _brighten(pixels, 1.0 / BRIGHTNESS),
        **{
            name: transform
            for unflipped, view in _UNFLIPPED.items()
            for name, transform in ((unflipped, view), (f"{unflipped}_flip", _flipped(view)))
        },
    }
)
"""Batches (n, height, width, 3) uint8 -> the same shape and dtype; none writes to its argument. A model takes photos of
one size, so scales and crops change what a photo shows there, on each axis alone. Nothing turns a photo by 90 degrees:
no car stands so, and averaging such views costs most of the accuracy."""


def check_views(names: Sequence[str]) -> None:
    """Raises ConfigError where a view is unknown, or none is named."""
    if not names:
        raise ConfigError(f"tta: no view named; expected at least one of {', '.join(VIEWS)}")
    for name in names:
        if name not in VIEWS:
            near = nearest_name(name, list(VIEWS))
            hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(VIEWS)}"
            raise ConfigError(f"tta: unknown view {name!r}; {hint}")


def predict_view(model: "keras.Model", pixels: StoredPixels, view: str, *, batch_size: int) -> NDArray[np.float32]:
    """Probabilities (n, classes) float32 of one view of all photos.

    `pixels` (n, height, width, 3) may be a read-only memory map larger than memory: it is read in slices of
    `batch_size`. The last slice is filled up, so that the model is traced for one shape only. Raises ConfigError for an
    unknown view.
    """
    check_views([view])
    transform = VIEWS[view]
    count = min(batch_size, len(pixels))
    predicted = [np.zeros((0, model.output_shape[-1]), np.float32)]
    for start in range(0, len(pixels), batch_size):
        batch = np.asarray(pixels[start : start + batch_size])
        probabilities = model.predict_on_batch(transform(_filled(batch, count)))
        predicted.append(np.asarray(probabilities, np.float32)[: len(batch)])
    return np.concatenate(predicted)


def _filled(batch: Pixels, count: int) -> Pixels:
    missing = count - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def average(by_view: ByView, views: Sequence[str]) -> NDArray[np.float32]:
    """Mean over `views` of their (n, classes) probabilities, float32.

    Summed in float64, so that the mean of equal views is that view to the bit.
    """
    total = np.zeros(np.shape(by_view[views[0]]), np.float64)
    for view in views:
        total += by_view[view]
    return (total / len(views)).astype(np.float32)
