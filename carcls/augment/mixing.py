"""Mixes the photos of a batch in pairs, by mixup or cutmix. Pure functions.

Pixels are computed in integers, so that every machine produces the same bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Photos uint8 (b, height, width, 3) and their labels float32 (b, classes), each row summing to 1."""

_WHOLE = 256
"""Denominator of mixup's shares. uint16 holds the sums: 255 * 256 + 128 < 2**16."""
_STREAM = 1
"""First number of the spawn key, which separates these draws from others of the same training seed."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """How the batches of one epoch are mixed. Thread-safe."""

    mixup: float
    """Alpha of the Beta distribution of a photo's share, see `mixup`; 0 turns it off."""
    cutmix: float
    """The same for `cutmix`. If both are on, a fair coin chooses one for each batch."""
    seed: int
    """The training's seed. Views, which trials share, do not depend on it."""
    epoch: int

    def apply(self, batch: Batch, number: int) -> Batch:
        """Batch `number` of the epoch, mixed: new arrays of the same shapes and dtypes, or the batch itself if off."""
        if not (self.mixup or self.cutmix):
            return batch
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch), spawn_key=(_STREAM, number)))
        by_mixup = self.mixup > 0 and (not self.cutmix or rng.random() < 0.5)
        return mixup(batch, self.mixup, rng) if by_mixup else cutmix(batch, self.cutmix, rng)


def mixup(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Blends each photo and its label with a partner's (Zhang et al. 2018, arXiv 1710.09412).

    As in the paper, one share ~ Beta(alpha, alpha) holds for the whole batch, and partners are a permutation of it. The
    share is rounded to 1/256 for pixels and labels alike; pixels are rounded to the nearest value, halves up.
    """
    x, y = batch
    part = round(float(rng.beta(alpha, alpha)) * _WHOLE)
    partners = rng.permutation(len(x))
    mixed = np.empty_like(x)
    for row, partner in enumerate(partners):  # one photo at a time fits the processor's cache: twice as fast
        sums = np.multiply(x[row], np.uint16(part), dtype=np.uint16)
        sums += np.multiply(x[partner], np.uint16(_WHOLE - part), dtype=np.uint16)
        sums += np.uint16(_WHOLE // 2)
        mixed[row] = sums >> 8  # division by _WHOLE, rounded by the half added above
    return mixed, _shared(y, partners, part / _WHOLE)


def cutmix(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Pastes a rectangle of a partner into each photo and mixes labels by area (Yun et al. 2019, arXiv 1905.04899).

    As in the paper, the whole batch uses one rectangle with the photo's aspect ratio, a relative area of
    1 - Beta(alpha, alpha) and a uniform centre, clipped at the edges. Labels are mixed by the clipped area.
    """
    x, y = batch
    height, width = x.shape[1:3]
    side = float(np.sqrt(1 - rng.beta(alpha, alpha)))
    rows, columns = _span(height, side, rng), _span(width, side, rng)
    partners = rng.permutation(len(x))
    mixed = x.copy()
    mixed[:, rows, columns] = x[partners, rows, columns]
    covered = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, _shared(y, partners, 1 - covered / (height * width))


def _span(length: int, share: float, rng: np.random.Generator) -> slice:
    """`share` of a length around a random centre, clipped to 0..length."""
    cut, centre = round(length * share), int(rng.integers(length))
    start = centre - cut // 2
    return slice(max(start, 0), min(start + cut, length))


def _shared(y: NDArray[np.float32], partners: NDArray[np.int64], share: float) -> NDArray[np.float32]:
    own = np.float32(share)
    return own * y + (np.float32(1) - own) * y[partners]
