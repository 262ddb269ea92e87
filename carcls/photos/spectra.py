"""Hashes and frequency spectra of grey thumbnails, by which `duplicates` compares photos. Pure."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

THUMBNAIL_SIDE = 64
"""Rows and columns of a thumbnail."""
SIDE = 32
"""Rows and columns after halving, for measures 1 to 3."""
FINE_FREQUENCIES = 24
_CUTS = (0.0, 0.02, 0.04, 0.06)
"""Shares of a side that a crop may have removed at each end."""


def correlation(crops: Floats, spectra: Floats) -> Floats:
    """DCT (..., n, count, count), spectra (n, count * count) -> (..., n)."""
    likeness: Floats = (_normalised(crops * _weights(crops.shape[-1])) * spectra).sum(axis=-1)
    return likeness


def spectra_of(images: Floats, count: int) -> Floats:
    """(n, 32, 32) -> (n, count * count): the lowest frequencies of each axis, weighted, of unit length."""
    lowest = np.matmul(DCT[:count] @ images, DCT[:count].T, dtype=np.float32)
    return _normalised(lowest * _weights(count))


def _normalised(spectra: Floats) -> Floats:
    flat = spectra.reshape(*spectra.shape[:-2], spectra.shape[-2] * spectra.shape[-1])
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), np.float32(1e-6))


def _weights(count: int) -> Floats:
    """Weights proportional to frequency. Amplitudes of natural images fall as 1/f (Field, 1987), so this balances them.

    Frequency 0 weighs nothing, so brightness does not matter; normalisation removes contrast.
    """
    frequency = np.arange(count, dtype=np.float32)
    weights: Floats = np.hypot(frequency[:, None], frequency[None, :])
    return weights


def hashes_of(images: Floats) -> NDArray[np.uint64]:
    """(n, 32, 32) -> (n,): difference hash on 8 rows of 9 cells; a bit is set if the right neighbour is brighter."""
    cells = _sampling(8, 0.0, 1.0) @ images @ _sampling(9, 0.0, 1.0).T
    brighter = cells[:, :, 1:] > cells[:, :, :-1]
    return np.packbits(brighter.reshape(len(images), 64), axis=1).view(np.uint64).reshape(-1)


def _sampling(cells: int, start: float, stop: float, side: int = SIDE) -> Floats:
    """(cells, side): matrix that averages an axis, linearly interpolated, over equal cells from `start` to `stop`."""
    per_cell = 8
    at = start + (stop - start) * (np.arange(cells * per_cell) + 0.5) / (cells * per_cell)
    at = np.clip(at * side - 0.5, 0, side - 1)
    distance = np.abs(at[:, None] - np.arange(side)[None, :])
    return np.maximum(0.0, 1.0 - distance).reshape(cells, per_cell, side).mean(axis=1).astype(np.float32)


def _dct() -> Floats:
    """(32, 32): the orthonormal DCT-II (Ahmed, Natarajan and Rao, 1974); row = frequency."""
    angles = np.pi * np.arange(SIDE)[:, None] * (np.arange(SIDE)[None, :] + 0.5) / SIDE
    scale = np.sqrt(np.where(np.arange(SIDE) == 0, 1.0, 2.0) / SIDE)
    return (np.cos(angles) * scale[:, None]).astype(np.float32)


DCT = _dct()
CROPPED_DCT: Floats = np.stack(
    [DCT[:FINE_FREQUENCIES] @ _sampling(SIDE, before, 1.0 - after) for before in _CUTS for after in _CUTS]
)
"""(16, 24, 32): crops one axis of a halved thumbnail, then takes its DCT."""
LARGE_CROPS: Floats = np.stack(
    [_sampling(THUMBNAIL_SIDE, before, 1.0 - after, THUMBNAIL_SIDE) for before in _CUTS for after in _CUTS]
)
"""(16, 64, 64): the same crops of one axis of a full thumbnail."""
