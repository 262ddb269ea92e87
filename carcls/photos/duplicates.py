"""Finds near-duplicates ("look-alikes"): one photo saved again, resized, brightened, stamped or cropped a little. Pure.

Four measures on grey thumbnails, each finer and more expensive than the one before:
1. a 64-bit difference hash (Krawetz, "Kind of Like That", 2013), compared for all pairs;
2. correlation of low frequencies, weighted for natural images, of pairs with similar hashes;
3. correlation of higher frequencies after the best crop of either photo, of the remaining pairs;
4. similarity of every part of the crop, since two cars in front of one wall are similar as a whole.

docs/data.md reports what this finds and misses. Mirrored and rotated copies are not detected.
"""

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.photos.part_similarity import share_of_differing_parts
from carcls.photos.spectra import (
    CROPPED_DCT,
    DCT,
    FINE_FREQUENCIES,
    LARGE_CROPS,
    SIDE,
    THUMBNAIL_SIDE,
    Floats,
    correlation,
    hashes_of,
    spectra_of,
)

_HALVED_FROM_PX = 192
_FLAT = 1.0
"""Standard deviation in grey levels below which a thumbnail has nothing to compare."""

_HASH_BITS_APART = 16
_COARSE, _COARSE_FREQUENCIES = 0.5, 8
_FINE = 0.85
_OTHER_PARTS = 0.08
"""Share of a picture's parts that may differ, because of a stamp or a crop that is off by less than a pixel."""
_OTHER_PARTS_OTHER_CLASS = 0.05
"""The same for photos labelled as different classes, since such labels are more often right than wrong."""
_ALIGNED_FREQUENCIES = 16
"""Enough frequencies to choose the crop, at half the cost."""

_HASHED_ROWS = 16
"""Hashes compared with all others at a time: few enough for the differences to stay in the processor's cache."""
_PAIRS_AT_ONCE = 256
_MAX_CANDIDATES = 8
"""Later photos with which a photo is compared in full. Hundreds of copies of one picture are still linked one to the
next, and a folder from one fixed camera, where all are similar, does not cost quadratic time."""


def thumbnail_of(image: NDArray[np.uint8]) -> bytes:
    """Grey thumbnail of 64 x 64 as 4,096 bytes, row by row. image: uint8 (height, width, 3) RGB or (h, w) grey.

    The image is halved as often as possible first: OpenCV averages 2 x 2 pixels ten times as fast as other areas.
    """
    while min(image.shape[:2]) >= _HALVED_FROM_PX:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA).tobytes()


def exact_groups(digests: Sequence[str]) -> list[tuple[int, ...]]:
    """Positions of photos with equal digests, two or more to a group; groups by their first, each ascending."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        positions[digest].append(position)
    return [tuple(group) for group in positions.values() if len(group) > 1]


def linked_groups(
    digests: Sequence[str], thumbnails: Sequence[bytes], labels: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Positions of photos that are exact copies or look alike. Every photo is in one group, most of them alone.

    labels: class of each photo, -1 if unlabelled. Groups are sorted by their first photo, each ascending. Of exact
    copies only the first is compared with other photos.
    """
    same = exact_groups(digests)
    copies = {group[0]: group[1:] for group in same}
    later = {position for group in same for position in group[1:]}
    near = near_groups(
        [b"" if position in later else thumbnail for position, thumbnail in enumerate(thumbnails)], labels
    )
    joined = {group[0]: group[1:] for group in near}
    inside = later.union(*joined.values())
    return [
        tuple(sorted(copy for member in (first, *joined.get(first, ())) for copy in (member, *copies.get(member, ()))))
        for first in range(len(digests))
        if first not in inside
    ]


def near_groups(thumbnails: Sequence[bytes], labels: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """Positions of photos that show the same picture, two or more per group; groups by their first, each ascending.

    thumbnails: from `thumbnail_of`; an empty one excludes its photo. labels: class of each photo, -1 if unlabelled;
    photos of different classes must be more similar to match. Groups are connected by pairs, so two of its photos may
    be less similar. 22,000 photos take seconds.
    """
    shown = [position for position, thumbnail in enumerate(thumbnails) if thumbnail]
    grey = np.frombuffer(b"".join(thumbnails[position] for position in shown), np.uint8)
    large = grey.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    shows = large.std(axis=(1, 2)) >= _FLAT
    positions = np.array(shown, dtype=np.intp)[shows]
    classes = np.full(len(positions), -1) if labels is None else np.asarray(labels, dtype=np.int64)[positions]
    members: dict[int, list[int]] = defaultdict(list)
    for position, first in zip(positions.tolist(), _link(large[shows], classes), strict=True):
        members[first].append(position)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _link(large: NDArray[np.uint8], classes: NDArray[np.int64]) -> list[int]:
    """(n, 64, 64), (n,) -> the first photo of each photo's group."""
    images = large.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4), dtype=np.float32)
    pairs = _likely_pairs(hashes_of(images), spectra_of(images, _COARSE_FREQUENCIES))
    # Either photo of a pair may be the cropped one, so each pair is tried in both orders.
    swapped = pairs[np.argsort(pairs[:, 1], kind="stable")][:, ::-1]
    first = list(range(len(images)))
    for ordered in (pairs, swapped):
        matches = _matching_crops(images, *_not_linked(first, ordered).T)
        for start in range(0, len(matches), _PAIRS_AT_ONCE):
            # Skips pairs that earlier matches have linked: of many copies of one picture few pairs are left.
            left = _not_linked(first, matches[start : start + _PAIRS_AT_ONCE])
            for one, other in _alike_in_every_part(large, classes, left):
                low, high = sorted((_first(first, one), _first(first, other)))
                first[high] = low
    return [_first(first, position) for position in range(len(first))]


def _not_linked(first: list[int], pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows whose first two photos are in different groups."""
    apart = [_first(first, one) != _first(first, other) for one, other in pairs[:, :2].tolist()]
    return pairs[np.array(apart, dtype=np.bool_)]


def _first(first: list[int], position: int) -> int:
    """First photo of the group: union-find with path compression."""
    while first[position] != position:
        first[position] = position = first[first[position]]
    return position


def _likely_pairs(hashes: NDArray[np.uint64], coarse: Floats) -> NDArray[np.intp]:
    """(m, 2): pairs of photos, ascending, whose hashes and low frequencies are close."""
    found = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(hashes), _HASHED_ROWS):
        rows = hashes[start : start + _HASHED_ROWS]
        apart = np.bitwise_count(rows[:, None] ^ hashes[None, start:])  # (16, n - start) Hamming distances
        # Every photo matches itself, so rows with a single hit, which are most, need no more work.
        for row in np.flatnonzero(np.count_nonzero(apart <= _HASH_BITS_APART, axis=1) > 1).tolist():
            one, later = start + row, start + row + 1 + np.flatnonzero(apart[row, row + 1 :] <= _HASH_BITS_APART)
            likeness = coarse[later] @ coarse[one]  # cosine, since spectra have unit length
            likely = later[np.argsort(-likeness, kind="stable")][: np.count_nonzero(likeness >= _COARSE)]
            chosen = np.sort(likely[:_MAX_CANDIDATES])
            found.append(np.stack([np.full_like(chosen, one), chosen], axis=1))
    return np.concatenate(found)


def _alike_in_every_part(
    large: NDArray[np.uint8], classes: NDArray[np.int64], matches: NDArray[np.intp]
) -> list[tuple[int, int]]:
    """Pairs of `matches` (from `_matching_crops`) whose crops are similar in nearly every part."""
    cut, whole, rows, columns = matches.T
    crops = LARGE_CROPS[rows] @ large[cut].astype(np.float32) @ LARGE_CROPS[columns].swapaxes(-1, -2)
    one, other = classes[cut], classes[whole]
    contradicts = (one >= 0) & (other >= 0) & (one != other)
    allowed = np.where(contradicts, _OTHER_PARTS_OTHER_CLASS, _OTHER_PARTS)
    alike = share_of_differing_parts(crops, large[whole].astype(np.float32)) <= allowed
    return list(zip(cut[alike].tolist(), whole[alike].tolist(), strict=True))


def _matching_crops(images: Floats, cut: NDArray[np.intp], whole: NDArray[np.intp]) -> NDArray[np.intp]:
    """(m, 4): the given pairs in which a crop of photo `cut` (ascending) matches photo `whole`, with the indices of the
    crop's rows and columns in `CROPPED_DCT`."""
    few = _ALIGNED_FREQUENCIES
    found = [np.empty((0, 4), dtype=np.intp)]
    for start in range(0, len(cut), _PAIRS_AT_ONCE):
        a, b = cut[start : start + _PAIRS_AT_ONCE], whole[start : start + _PAIRS_AT_ONCE]
        # Each photo is transformed once, although it is in several pairs.
        used, photo = np.unique(a, return_inverse=True)
        coarse, fine = (spectra_of(images[b], count) for count in (few, FINE_FREQUENCIES))
        by_rows = np.matmul(CROPPED_DCT[:, None, :few] @ images[used], DCT[:few].T, dtype=np.float32)
        # by_rows (crops, used photos, few, few), by_columns (crops, pairs, few, few), best (pairs, 24, 24)
        # The best crop of rows is chosen first, then that of columns: 16 + 16 correlations instead of 256.
        row_crop = correlation(by_rows[:, photo], coarse).argmax(axis=0)
        cut_rows = CROPPED_DCT[row_crop] @ images[a]  # (pairs, 24, 32)
        by_columns = cut_rows[None, :, :few] @ CROPPED_DCT[:, None, :few].swapaxes(-1, -2)
        column_crop = correlation(by_columns, coarse).argmax(axis=0)
        best: Floats = cut_rows @ CROPPED_DCT[column_crop].swapaxes(-1, -2)
        same = correlation(best, fine) >= _FINE
        found.append(np.stack([a[same], b[same], row_crop[same], column_crop[same]], axis=1))
    return np.concatenate(found)
