"""Which validation photos look alike, so that statistics count them as one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carcls.splits.split import Split


def look_alikes(splits: Sequence[Split]) -> NDArray[np.int64]:
    """A number for each validation photo of some splits of one data folder, in order; copies and groups share one."""
    group_of = {photo: group[0] for split in splits for group in split.units for photo in group}
    first = [group_of.get(photo, photo) for split in splits for photo in split.validation.paths]
    return np.unique(first, return_inverse=True)[1].astype(np.int64)
