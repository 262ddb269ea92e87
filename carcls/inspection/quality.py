"""Sharpness and exposure of photos, to find those that a person should look at."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from carcls.errors import DataError
from carcls.photos.photo import preview_bytes, read_photo_bytes

_SIDE_PX = 256
"""Longer side at which sharpness is measured, so that photos of any size compare."""
_DARK, _BRIGHT = 45.0, 215.0
"""Mean grey value below or above which most of a photo is black or white."""
_BLUR_SHARE = 0.15
"""A photo is blurred below this share of the median sharpness."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of one photo."""

    path: str
    sharpness: float
    """Variance of the Laplacian of grey values at 256 px (Pech-Pacheco et al. 2000)."""
    brightness: float
    """Mean grey value, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Outliers:
    """Photos to look at, the most extreme first."""

    blurred: tuple[Quality, ...]
    dark: tuple[Quality, ...]
    bright: tuple[Quality, ...]


def measure(root: Path, paths: Sequence[str], *, threads: int) -> list[Quality]:
    """Measures of all readable photos, in order."""
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda path: _measured(root, path), paths)
        return [one for one in found if one is not None]


def _measured(root: Path, path: str) -> Quality | None:
    try:
        image = preview_bytes(read_photo_bytes(root / path)).image
    except DataError:
        return None
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _SIDE_PX / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return Quality(path, float(cv2.Laplacian(small, cv2.CV_64F).var()), float(small.mean()))


def outliers(measured: Sequence[Quality]) -> Outliers:
    """Blurred photos by share of the median sharpness, dark and bright ones by fixed limits. Pure."""
    if not measured:
        return Outliers((), (), ())
    limit = _BLUR_SHARE * float(np.median([one.sharpness for one in measured]))
    return Outliers(
        blurred=tuple(sorted((one for one in measured if one.sharpness < limit), key=lambda one: one.sharpness)),
        dark=tuple(sorted((one for one in measured if one.brightness < _DARK), key=lambda one: one.brightness)),
        bright=tuple(sorted((one for one in measured if one.brightness > _BRIGHT), key=lambda one: -one.brightness)),
    )
