"""Random erasing (Zhong et al. 2020, arXiv 1708.04896): a random rectangle of a photo becomes noise. Pure.

It comes after the view, and is a function of the same (seed, view, index) with a stream of its own, so views with and
without it share what the store keeps.
"""

import numpy as np
from numpy.typing import NDArray

_STREAM = 3
"""First number of the spawn key, which separates these draws from others of the same seed."""
_SHARES = (0.02, 0.4)
"""Share of the photo that is erased, and below the shape of the rectangle (height / width), as in the paper."""
_SHAPES = (0.3, 1 / 0.3)
_TRIES = 100


def erase(photo: NDArray[np.uint8], probability: float, *, seed: int, view: int, index: int) -> None:
    """With `probability`, fills a rectangle of `photo`, uint8 (h, w, 3), in place with random pixels.

    seed, view and index name the view, see `views.view`.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, view, index), spawn_key=(_STREAM,)))
    if rng.random() >= probability:
        return
    height, width = photo.shape[:2]
    for _ in range(_TRIES):  # the paper's: until one fits
        area = rng.uniform(*_SHARES) * height * width
        shape = rng.uniform(*_SHAPES)
        rows, columns = round((area * shape) ** 0.5), round((area / shape) ** 0.5)
        if 0 < rows < height and 0 < columns < width:
            top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
            noise = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
            photo[top : top + rows, left : left + columns] = noise
            return
