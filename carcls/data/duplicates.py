"""Near duplicates: the same photo saved again, resized, brightened, stamped or cropped a little. Pure functions.

Three measures, each finer and dearer than the one before, all on a grey thumbnail, the photo's look:
1. a 64-bit difference hash (Krawetz, "Kind of Like That", 2013), compared for all pairs;
2. correlation of low frequencies, weighted as natural images need it, for pairs whose hashes are close;
3. correlation of higher frequencies after the best crop of either side, for what is left.

Measured on the 904 photos of cars10 and 1,300 drawn ones: different photos reach 0.81 in the last measure, copies at
quality 10, at half the size, brighter or stamped 0.84 and more. Mirrored and rotated copies are not looked for.
"""

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SIDE = 32
"""Rows and columns of a look."""
_SAMPLED_SIDE = 128
_FLAT = 1.0
"""Standard deviation in grey levels below which a look shows nothing that could be compared."""

_HASH_BITS_APART = 16
_COARSE, _COARSE_FREQUENCIES = 0.5, 8
_FINE, _FINE_FREQUENCIES = 0.85, 24
_ALIGNED_FREQUENCIES = 16
"""Enough to choose the crop by, at half the cost."""
_CUTS = (0.0, 0.02, 0.04, 0.06)
"""Shares of a side that a crop may have cut off at each end."""

_HASHED_ROWS = 16
"""Compared with all others at once: few enough that the differences stay in the processor's cache."""
_PAIRS_AT_ONCE = 256
_MOST_LIKELY = 8
"""Later photos that a photo is compared with in full. Among hundreds of copies of one picture each is linked to a
later one all the same; a folder from one fixed camera, all alike, does not cost the square of its size."""


def look_of(image: NDArray[np.uint8]) -> bytes:
    """uint8 (height, width, 3) RGB, or grey (height, width) -> 1,024 bytes: its grey thumbnail of 32 x 32, row by row.

    Sampled before it is averaged: a twentieth of a JPEG's decoding time, where averaging all pixels takes half of it.
    """
    sampled = cv2.resize(image, (_SAMPLED_SIDE, _SAMPLED_SIDE), interpolation=cv2.INTER_LINEAR)
    grey = sampled if sampled.ndim == 2 else cv2.cvtColor(sampled, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).tobytes()


def exact_groups(digests: Sequence[str]) -> list[tuple[int, ...]]:
    """Positions of photos with equal digests, two or more to a group; groups by their first, each ascending."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        positions[digest].append(position)
    return [tuple(group) for group in positions.values() if len(group) > 1]


def linked_groups(digests: Sequence[str], looks: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Positions of photos that are copies, exact or near; every photo is in one group, most alone in theirs.

    Groups by their first photo, each ascending. Of exact copies the first stands for all.
    """
    same = exact_groups(digests)
    copies = {group[0]: group[1:] for group in same}
    later = {position for group in same for position in group[1:]}
    near = near_groups([b"" if position in later else look for position, look in enumerate(looks)])
    joined = {group[0]: group[1:] for group in near}
    inside = later.union(*joined.values())
    return [
        tuple(sorted(copy for member in (first, *joined.get(first, ())) for copy in (member, *copies.get(member, ()))))
        for first in range(len(digests))
        if first not in inside
    ]


def near_groups(looks: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Positions of photos that show the same picture, two or more to a group; groups by their first, each ascending.

    looks: of `look_of`; empty for a photo that is not compared. A group holds what is linked by pairs: its ends may
    be further apart. 22,000 photos take seconds.
    """
    shown = [position for position, look in enumerate(looks) if look]
    grey = np.frombuffer(b"".join(looks[position] for position in shown), np.uint8).reshape(-1, _SIDE, _SIDE)
    images = grey.astype(np.float32)
    shows = images.std(axis=(1, 2)) >= _FLAT
    positions = np.array(shown, dtype=np.intp)[shows]
    members: dict[int, list[int]] = defaultdict(list)
    for position, first in zip(positions.tolist(), _link(images[shows]), strict=True):
        members[first].append(position)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _link(images: Floats) -> list[int]:
    """(n, 32, 32) -> the first photo of each photo's group."""
    pairs = _likely_pairs(_hashes(images), _spectra(images, _COARSE_FREQUENCIES))
    swapped = pairs[np.argsort(pairs[:, 1], kind="stable")][:, ::-1]
    same = [tuple(pair) for cut, whole in (pairs.T, swapped.T) for pair in _matching_crops(images, cut, whole).tolist()]
    first = list(range(len(images)))
    for one, other in same:
        low, high = sorted((_first(first, one), _first(first, other)))
        first[high] = low
    return [_first(first, position) for position in range(len(first))]


def _first(first: list[int], position: int) -> int:
    """Follows the links to the group's first photo, and shortens them for the next time."""
    while first[position] != position:
        first[position] = position = first[first[position]]
    return position


def _likely_pairs(hashes: NDArray[np.uint64], coarse: Floats) -> NDArray[np.intp]:
    """(m, 2): pairs of photos, ascending, whose hashes and low frequencies are close."""
    found = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(hashes), _HASHED_ROWS):
        rows = hashes[start : start + _HASHED_ROWS]
        apart = np.bitwise_count(rows[:, None] ^ hashes[None, start:])
        # every photo is close to itself: rows with one hit are most, and need no more work
        for row in np.flatnonzero(np.count_nonzero(apart <= _HASH_BITS_APART, axis=1) > 1).tolist():
            one, later = start + row, start + row + 1 + np.flatnonzero(apart[row, row + 1 :] <= _HASH_BITS_APART)
            likeness = coarse[later] @ coarse[one]
            likely = later[np.argsort(-likeness, kind="stable")][: np.count_nonzero(likeness >= _COARSE)]
            chosen = np.sort(likely[:_MOST_LIKELY])
            found.append(np.stack([np.full_like(chosen, one), chosen], axis=1))
    return np.concatenate(found)


def _matching_crops(images: Floats, cut: NDArray[np.intp], whole: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pairs (m, 2) of those given for which some crop of photo `cut`, ascending, is photo `whole`."""
    few = _ALIGNED_FREQUENCIES
    found = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(cut), _PAIRS_AT_ONCE):
        a, b = cut[start : start + _PAIRS_AT_ONCE], whole[start : start + _PAIRS_AT_ONCE]
        used, photo = np.unique(a, return_inverse=True)
        coarse, fine = (_spectra(images[b], count) for count in (few, _FINE_FREQUENCIES))
        by_rows = np.matmul(_CROPPED[:, None, :few] @ images[used], _DCT[:few].T, dtype=np.float32)
        # by_rows (crops, used photos, few, few), by_columns (crops, pairs, few, few), best (pairs, 24, 24)
        row_crop = _correlation(by_rows[:, photo], coarse).argmax(axis=0)
        cut_rows = _CROPPED[row_crop] @ images[a]  # (pairs, 24, 32)
        by_columns = cut_rows[None, :, :few] @ _CROPPED[:, None, :few].swapaxes(-1, -2)
        column_crop = _correlation(by_columns, coarse).argmax(axis=0)
        best: Floats = cut_rows @ _CROPPED[column_crop].swapaxes(-1, -2)
        same = _correlation(best, fine) >= _FINE
        found.append(np.stack([a[same], b[same]], axis=1))
    return np.concatenate(found)


def _correlation(crops: Floats, spectra: Floats) -> Floats:
    """DCT (..., n, count, count), spectra (n, count * count) -> (..., n)."""
    likeness: Floats = (_normalised(crops * _weights(crops.shape[-1])) * spectra).sum(axis=-1)
    return likeness


def _spectra(images: Floats, count: int) -> Floats:
    """(n, 32, 32) -> (n, count * count): the lowest frequencies of each axis, weighted, of unit length."""
    lowest = np.matmul(_DCT[:count] @ images, _DCT[:count].T, dtype=np.float32)
    return _normalised(lowest * _weights(count))


def _normalised(spectra: Floats) -> Floats:
    flat = spectra.reshape(*spectra.shape[:-2], spectra.shape[-2] * spectra.shape[-1])
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), np.float32(1e-6))


def _weights(count: int) -> Floats:
    """Frequencies themselves: amplitudes of natural images fall as 1/f, so each then counts about alike (Field, 1987).

    The mean, frequency 0, counts nothing: brightness does not matter, and contrast goes with the length.
    """
    frequency = np.arange(count, dtype=np.float32)
    weights: Floats = np.hypot(frequency[:, None], frequency[None, :])
    return weights


def _hashes(images: Floats) -> NDArray[np.uint64]:
    """(n, 32, 32) -> (n,): bit = the right of two neighbouring cells is brighter, on 8 rows of 9 cells."""
    cells = _sampling(8, 0.0, 1.0) @ images @ _sampling(9, 0.0, 1.0).T
    brighter = cells[:, :, 1:] > cells[:, :, :-1]
    return np.packbits(brighter.reshape(len(images), 64), axis=1).view(np.uint64).reshape(-1)


def _sampling(cells: int, start: float, stop: float) -> Floats:
    """(cells, 32): means of the linearly interpolated look over equal cells of the part from `start` to `stop`."""
    per_cell = 8
    at = start + (stop - start) * (np.arange(cells * per_cell) + 0.5) / (cells * per_cell)
    at = np.clip(at * _SIDE - 0.5, 0, _SIDE - 1)
    distance = np.abs(at[:, None] - np.arange(_SIDE)[None, :])
    return np.maximum(0.0, 1.0 - distance).reshape(cells, per_cell, _SIDE).mean(axis=1).astype(np.float32)


def _dct() -> Floats:
    """(32, 32): the orthonormal DCT-II (Ahmed, Natarajan and Rao, 1974); row = frequency."""
    angles = np.pi * np.arange(_SIDE)[:, None] * (np.arange(_SIDE)[None, :] + 0.5) / _SIDE
    scale = np.sqrt(np.where(np.arange(_SIDE) == 0, 1.0, 2.0) / _SIDE)
    return (np.cos(angles) * scale[:, None]).astype(np.float32)


_DCT = _dct()
_CROPPED: Floats = np.stack(
    [_DCT[:_FINE_FREQUENCIES] @ _sampling(_SIDE, before, 1.0 - after) for before in _CUTS for after in _CUTS]
)
"""(16, 24, 32): crop one axis of a look, then its DCT."""
