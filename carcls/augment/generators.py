"""Random generators of a view: a pure function of (seed, view, index), cheap enough to reset for every photo."""

import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_EMPTY = np.zeros(4, np.uint64)


class ViewGenerators:
    """A NumPy and a Python generator that are reset for each view. Not thread-safe: use one object per thread.

    Their states come from six words of Philox (Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3). It is
    counter-based: the seed is the key, and view and index are words of the counter, so no two views of a seed get the
    same words. Python's generator gets two words and NumPy's the other four. NumPy's is PCG64DXSM, since Philox itself
    takes twice as long for the noise of a photo.
    """

    def __init__(self) -> None:
        self._words = np.random.Philox(0)
        self._bits = np.random.PCG64DXSM(0)
        self.numpy = np.random.Generator(self._bits)
        self.python = random.Random()  # noqa: S311  # views are no secret

    def start(self, *, seed: int, view: int, index: int) -> None:
        """Resets both generators for a view. All arguments are at least 0; view and index are below 2**64."""
        # Sets whole states: new generators, or a SeedSequence per view, take several times as long.
        self._words.state = {
            "bit_generator": "Philox",
            "state": {"counter": np.array([0, index, view, 0], np.uint64), "key": _key(seed)},
            "buffer": _EMPTY,
            "buffer_pos": len(_EMPTY),
            "has_uint32": 0,
            "uinteger": 0,
        }
        a, b, c, d, e, f = self._words.random_raw(6).tolist()  # 64 bits each
        self.python.seed(a << 64 | b)
        self._bits.state = {
            "bit_generator": "PCG64DXSM",
            "state": {"state": c << 64 | d, "inc": e << 64 | f | 1},  # PCG needs an odd increment
            "has_uint32": 0,
            "uinteger": 0,
        }


@lru_cache(maxsize=64)
def _key(seed: int) -> NDArray[np.uint64]:
    """Philox key, uint64 (2,). Similar seeds have unrelated keys."""
    return np.random.SeedSequence(seed).generate_state(2, np.uint64).astype(np.uint64, copy=False)
