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
"""Share of the side that the zoomed views show."""
SHIFT = 0.05
"""Of the side; what comes in from outside is the border's reflection."""
BRIGHTNESS = 1.15
"""Factor of `brighter`; `darker` divides by it."""


def _flip(pixels: Pixels) -> Pixels:
    return pixels[:, :, ::-1]


def _zoom(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[1:3]
    top, left = (max(1, round(side * (1.0 - ZOOM_KEEPS) / 2)) for side in (height, width))
    zoomed = np.empty(pixels.shape, np.uint8)
    for photo, target in zip(pixels, zoomed, strict=True):
        centre = np.ascontiguousarray(photo[top : height - top, left : width - left])
        cv2.resize(centre, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return zoomed


def _shift(pixels: Pixels, *, left: bool) -> Pixels:
    side = pixels.shape[2]
    offset = max(1, round(side * SHIFT))
    columns = np.pad(np.arange(side), offset, mode="reflect")
    return pixels[:, :, columns[2 * offset :] if left else columns[:side]]


def _brighten(pixels: Pixels, factor: float) -> Pixels:
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[pixels]


VIEWS: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        PLAIN: lambda pixels: pixels,
        "flip": _flip,
        "zoom": _zoom,
        "zoom_flip": lambda pixels: _flip(_zoom(pixels)),
        "shift_left": lambda pixels: _shift(pixels, left=True),
        "shift_right": lambda pixels: _shift(pixels, left=False),
        "brighter": lambda pixels: _brighten(pixels, BRIGHTNESS),
        "darker": lambda pixels: _brighten(pixels, 1.0 / BRIGHTNESS),
    }
)
"""Batches (n, height, width, 3) uint8 -> the same shape and dtype; none writes to its argument. Nothing turns a photo
by 90 degrees: no car stands so, and averaging such views costs most of the accuracy."""


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
