"""The random numbers of a view: a pure function of (seed, view, index), cheap enough to start anew for each photo."""

import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_EMPTY = np.zeros(4, np.uint64)


class ViewGenerators:
    """NumPy's and Python's generator, set to one view after another. Not thread-safe: one object per thread.

    Their states are six words of Philox (Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3), which is
    counter-based: the seed is its key, view and index are words of its counter, so that no two views of a seed get the
    same words. Two words are for Python's generator and four for NumPy's: they share none. NumPy's is not Philox
    itself, which takes twice as long over the noise of a photo as PCG64DXSM.
    """

    def __init__(self) -> None:
        self._words = np.random.Philox(0)
        self._bits = np.random.PCG64DXSM(0)
        self.numpy = np.random.Generator(self._bits)
        self.python = random.Random()  # noqa: S311  # views are no secret

    def start(self, *, seed: int, view: int, index: int) -> None:
        """Sets both to the beginning of a view. Each number at least 0; view and index below 2**64."""
        # States as a whole: new generators, or a SeedSequence for each view, take several times as long.
        self._words.state = {
            "bit_generator": "Philox",
            "state": {"counter": np.array([0, index, view, 0], np.uint64), "key": _key(seed)},
            "buffer": _EMPTY,
            "buffer_pos": len(_EMPTY),
            "has_uint32": 0,
            "uinteger": 0,
        }
        a, b, c, d, e, f = self._words.random_raw(6).tolist()
        self.python.seed(a << 64 | b)
        self._bits.state = {
            "bit_generator": "PCG64DXSM",
            "state": {"state": c << 64 | d, "inc": e << 64 | f | 1},  # the increment of this family is odd
            "has_uint32": 0,
            "uinteger": 0,
        }


@lru_cache(maxsize=64)
def _key(seed: int) -> NDArray[np.uint64]:
    """uint64 (2,): equal seeds, equal keys; close seeds, unrelated ones."""
    return np.random.SeedSequence(seed).generate_state(2, np.uint64).astype(np.uint64, copy=False)
