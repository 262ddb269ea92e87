"""A batch -> the same batch with its photos mixed in pairs, by mixup or cutmix; a pure function of its arguments.

It works on whole numbers where pixels are concerned, so that any machine makes the same bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Photos uint8 (b, size, size, 3) and their labels float32 (b, classes), each row summing to 1."""

_WHOLE = 256
"""Parts into which mixup shares out two pixels. Two bytes hold the sum: 255 * 256 + 128 < 2**16."""
_STREAM = 1
"""Sets the draws apart from all others of the same training seed: the first number of their spawn key."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """How the batches of one epoch are mixed. May be called by any thread."""

    mixup: float
    """Alpha of the Beta distribution of a photo's share, see `mixup`; 0: off."""
    cutmix: float
    """The same for `cutmix`. Where both are on, a fair coin gives each batch one of the two."""
    seed: int
    """The training's; views, which trials share, do not depend on it."""
    epoch: int

    def apply(self, batch: Batch, number: int) -> Batch:
        """Batch `number` of the epoch, mixed; new arrays of the same shapes and types, or the batch itself if off."""
        if not (self.mixup or self.cutmix):
            return batch
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch), spawn_key=(_STREAM, number)))
        by_mixup = self.mixup > 0 and (not self.cutmix or rng.random() < 0.5)
        return mixup(batch, self.mixup, rng) if by_mixup else cutmix(batch, self.cutmix, rng)


def mixup(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Each photo blended with a partner, labels likewise (Zhang et al. 2018, arXiv 1710.09412).

    As in the paper, one share ~ Beta(alpha, alpha) holds for the batch, and the partners are a permutation of it. The
    share is rounded to 1/256, in pixels and labels alike; pixels are then rounded to the nearest value, halves up.
    """
    x, y = batch
    part = round(float(rng.beta(alpha, alpha)) * _WHOLE)
    partners = rng.permutation(len(x))
    mixed = np.empty_like(x)
    for row, partner in enumerate(partners):  # one photo at a time stays in the processor's cache: twice as fast
        sums = np.multiply(x[row], np.uint16(part), dtype=np.uint16)
        sums += np.multiply(x[partner], np.uint16(_WHOLE - part), dtype=np.uint16)
        sums += np.uint16(_WHOLE // 2)
        mixed[row] = sums >> 8
    return mixed, _shared(y, partners, part / _WHOLE)


def cutmix(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Each photo with a rectangle of a partner, labels shared by area (Yun et al. 2019, arXiv 1905.04899).

    As in the paper: one rectangle for the batch, of the photo's aspect ratio, its area 1 - Beta(alpha, alpha) of the
    photo, its centre anywhere, cut off at the edges; the labels' shares are those of the area that is left of it.
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
    """`share` of a length around a random centre, as far as it lies within 0..length."""
    cut, centre = round(length * share), int(rng.integers(length))
    start = centre - cut // 2
    return slice(max(start, 0), min(start + cut, length))


def _shared(y: NDArray[np.float32], partners: NDArray[np.int64], share: float) -> NDArray[np.float32]:
    own = np.float32(share)
    return own * y + (np.float32(1) - own) * y[partners]
