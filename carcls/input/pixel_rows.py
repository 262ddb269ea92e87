"""Photos as rows of larger sets of pixels: the folds of a study read one copy."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class PixelSource(Protocol):
    """uint8 (n, size, size, 3), read by photo."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, size, size, 3)"""

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(size, size, 3) for a number, (k, size, size, 3) for k integers."""


class PixelRows:
    """Chosen photos of several sets of pixels, which are read where they are; nothing is copied before it is asked for.

    Indexed along its first axis as an array is, and read-only. Safe for several threads at once. Pickled in a plan, it
    names its memory maps as a plan of one map does.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, sources: Sequence[PixelSource], rows: NDArray[np.integer]) -> None:
        """`rows` (n,): numbers of photos, counted through the sources, of which there is at least one."""
        self._sources, self._rows = tuple(sources), rows
        self._starts = [0, *np.cumsum([source.shape[0] for source in sources]).tolist()]
        self.shape = (len(rows), *sources[0].shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(size, size, 3) for a number, (k, size, size, 3) for a slice or k integers.

        Raises IndexError, and DataError where a photo has to be decoded and cannot be.
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
