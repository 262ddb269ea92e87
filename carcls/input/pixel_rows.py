"""Photos selected from larger arrays of pixels, so that all folds of a study share one copy."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class PixelSource(Protocol):
    """uint8 (n, height, width, 3), indexed by photo."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, 3)"""

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(height, width, 3) for an integer, (k, height, width, 3) for k integers."""


class PixelRows:
    """Selected photos of several pixel sources. Copies only what is indexed.

    Read-only and indexed along the first axis like an array. Thread-safe. In a pickled plan its memory maps are passed
    by file name.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, sources: Sequence[PixelSource], rows: NDArray[np.integer]) -> None:
        """rows: (n,) photos, numbered through all sources. There is at least one source."""
        self._sources, self._rows = tuple(sources), rows
        self._starts = [0, *np.cumsum([source.shape[0] for source in sources]).tolist()]
        self.shape = (len(rows), *sources[0].shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(height, width, 3) for an integer, (k, height, width, 3) for a slice or k integers.

        Raises IndexError, and DataError for a photo that must be decoded and cannot be.
        """
        chosen = self._rows[rows]
        if chosen.ndim == 0:
            place = bisect_right(self._starts, int(chosen)) - 1
            return self._sources[place][int(chosen) - self._starts[place]]
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for source, start, end in zip(self._sources, self._starts[:-1], self._starts[1:], strict=True):
            inside = (start <= chosen) & (chosen < end)
            if inside.any():
                out[inside] = source[chosen[inside] - start]
        return out
