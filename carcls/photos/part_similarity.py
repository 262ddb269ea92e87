"""Compares two pictures part by part: two cars in front of the same wall differ in some parts. Pure functions."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_CELL = 4
"""Rows and columns of a cell. A part is 2 x 2 cells, and parts overlap by one cell."""
_TEXTURE = 0.3
"""Smallest contrast, relative to the whole picture's, at which a part can be compared."""
_ALIKE = 0.8
"""Smallest correlation of two parts that show the same."""
_SHIFTS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))
"""In pixels, since the best crop may be off by one."""


def share_of_differing_parts(pictures: Floats, others: Floats) -> Floats:
    """Share of differing parts of m pairs of grey pictures, (m, s, s) and (m, s, s) -> (m,); s is a multiple of 4.

    Counts only parts with texture in both pictures; 0 if there are none. Brightness and contrast do not matter, neither
    of the whole nor of a part. A stamp on a plain part does not count either.
    """
    first, second = _standardised(pictures), _standardised(others)
    mean, deviation = _moments(second)
    likeness = np.full(mean.shape, -1.0, dtype=np.float32)
    side = first.shape[-1]
    framed = np.pad(first, ((0, 0), (1, 1), (1, 1)), mode="edge")  # (m, s + 2, s + 2), room for the shifts
    texture = _moments(first)[1]
    for row, column in _SHIFTS:
        moved = framed[:, 1 + row : 1 + row + side, 1 + column : 1 + column + side]
        moved_mean, moved_deviation = _moments(moved)
        together = _means(moved * second) - moved_mean * mean  # covariance of each part
        likeness = np.maximum(likeness, together / np.maximum(moved_deviation * deviation, np.float32(1e-3)))
    shows = np.minimum(texture, deviation) > _TEXTURE
    count = np.count_nonzero(shows, axis=(1, 2))
    other = np.count_nonzero(shows & (likeness < _ALIKE), axis=(1, 2))
    return (other / np.maximum(count, 1)).astype(np.float32)


def _standardised(pictures: Floats) -> Floats:
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    deviation = pictures.std(axis=(1, 2), keepdims=True)
    standard: Floats = (pictures - mean) / np.maximum(deviation, np.float32(1))
    return standard


def _moments(pictures: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each part."""
    mean = _means(pictures)
    return mean, np.sqrt(np.maximum(_means(pictures * pictures) - mean * mean, np.float32(0)))


def _means(pictures: Floats) -> Floats:
    """(m, s, s) -> (m, s / 4 - 1, s / 4 - 1): means of parts of 8 x 8, one every 4 pixels."""
    count, side = pictures.shape[0], pictures.shape[-1] // _CELL
    cells = pictures.reshape(count, side, _CELL, side, _CELL).mean(axis=(2, 4))
    rows = cells[:, 1:] + cells[:, :-1]
    parts: Floats = (rows[:, :, 1:] + rows[:, :, :-1]) / np.float32(4)
    return parts
