"""TrivialAugment: one random transform of random strength per photo (Müller & Hutter 2021, arXiv 2103.10158).

The ranges are those of the paper's narrower space (RA), with brightness and contrast a little narrower still, so that a
photo never turns black. Solarize is left out: a negative is no photo of a car. Corners show reflections, not black.
"""

from collections.abc import Callable
from typing import Any

import albumentations as A  # noqa: N812  # the conventional alias
import cv2
import numpy as np
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
"""uint8 (h, w, 3) RGB."""

_STEPS = 30
"""A strength is one of 0, 1/30, ..., 1, as in the paper."""
_SHEAR = 0.3
_SHIFT = 0.15
"""Share of the side."""
_DEGREES = 30.0
_BLEND = 0.7
"""Largest change of brightness, colour, contrast and sharpness."""
_FEWEST_BITS = 4
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def _warped(photo: Photo, matrix: list[list[float]]) -> Photo:
    """photo: moved by a 2x3 matrix of an affine map."""
    height, width = photo.shape[:2]
    return cv2.warpAffine(photo, np.array(matrix), (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _shear_x(photo: Photo, by: float) -> Photo:
    return _warped(photo, [[1, _SHEAR * by, -_SHEAR * by * photo.shape[0] / 2], [0, 1, 0]])


def _shear_y(photo: Photo, by: float) -> Photo:
    return _warped(photo, [[1, 0, 0], [_SHEAR * by, 1, -_SHEAR * by * photo.shape[1] / 2]])


def _shift_x(photo: Photo, by: float) -> Photo:
    return _warped(photo, [[1, 0, _SHIFT * by * photo.shape[1]], [0, 1, 0]])


def _shift_y(photo: Photo, by: float) -> Photo:
    return _warped(photo, [[1, 0, 0], [0, 1, _SHIFT * by * photo.shape[0]]])


def _turned(photo: Photo, by: float) -> Photo:
    height, width = photo.shape[:2]
    return _warped(photo, cv2.getRotationMatrix2D((width / 2, height / 2), _DEGREES * by, 1.0).tolist())


def _blended(photo: Photo, other: Photo, by: float) -> Photo:
    """`other` with by = -1 / _BLEND, the photo itself with 0, its opposite above."""
    factor = 1 + _BLEND * by
    return cv2.addWeighted(photo, factor, other, 1 - factor, 0)


def _brightness(photo: Photo, by: float) -> Photo:
    return _blended(photo, np.zeros_like(photo), by)


def _contrast(photo: Photo, by: float) -> Photo:
    return _blended(photo, np.full_like(photo, round(float(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).mean()))), by)


def _colour(photo: Photo, by: float) -> Photo:
    return _blended(photo, cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), by)


def _sharpness(photo: Photo, by: float) -> Photo:
    return _blended(photo, cv2.filter2D(photo, -1, _SMOOTH, borderType=cv2.BORDER_REFLECT_101), by)


def _posterized(photo: Photo, by: float) -> Photo:
    dropped = round((8 - _FEWEST_BITS) * abs(by))
    return photo & np.uint8(0xFF << dropped & 0xFF)


def _auto_contrast(photo: Photo, by: float) -> Photo:
    low, high = (edge.astype(np.float32) for edge in (photo.min(axis=(0, 1)), photo.max(axis=(0, 1))))
    stretched = (photo - low) * (255 / np.maximum(high - low, 1))
    return np.where(high > low, np.rint(stretched), photo).astype(np.uint8)


def _equalized(photo: Photo, by: float) -> Photo:
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(photo[..., channel])) for channel in range(3)])


OPERATIONS: tuple[Callable[[Photo, float], Photo], ...] = (
    *(_shear_x, _shear_y, _shift_x, _shift_y, _turned),
    *(_brightness, _contrast, _colour, _sharpness),
    *(_posterized, _auto_contrast, _equalized),
)
"""(photo, strength from -1 to 1) -> a photo of the same shape and dtype."""


class TrivialAugment(A.ImageOnlyTransform):
    """One of `OPERATIONS`, at a random strength and in a random direction; identity is one more, so p is not 1."""

    def __init__(self) -> None:
        super().__init__(p=len(OPERATIONS) / (len(OPERATIONS) + 1))

    def get_params(self) -> dict[str, Any]:
        """The view's random draws."""
        strength = self.py_random.randint(0, _STEPS) / _STEPS
        return {"operation": self.py_random.randrange(len(OPERATIONS)), "by": strength * self.py_random.choice((-1, 1))}

    def apply(self, img: Photo, operation: int, by: float, **_params: Any) -> Photo:  # noqa: ANN401  # albumentations'
        """The photo, transformed."""
        return OPERATIONS[operation](img, by)
