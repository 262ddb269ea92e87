from pathlib import Path

import numpy as np

from carcls.dataset.table import ImageTable
from carcls.splits.look_alikes import look_alikes
from carcls.splits.split import Split


def _split(validation: list[str], groups: tuple[tuple[str, ...], ...] = ()) -> Split:
    count = len(validation)
    table = ImageTable(Path("data"), tuple(validation), tuple(validation), np.zeros(count, np.int64), ("",) * count)
    return Split(("a",), table, table, groups=groups)


def test_copies_share_a_number_and_other_photos_have_their_own():
    found = look_alikes([_split(["a", "b", "c"], (("a", "c"), ("b", "z"))), _split(["d"])])
    assert found.shape == (4,)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


def test_no_photo_is_no_number():
    assert look_alikes([_split([])]).shape == (0,)
