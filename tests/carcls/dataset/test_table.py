"""Tables of photos: selection, and one entry per photo."""

from pathlib import Path

import numpy as np
import pytest

from carcls.dataset.table import ImageTable


def test_tables_select_compare_and_keep_their_labels():
    table = ImageTable(Path("r"), ("a", "b", "c"), ("p/a", "p/b", "p/c"), np.array([0, 1, 2]), ("x", "y", "z"))
    chosen = table.select([2, 0])
    assert chosen == ImageTable(Path("r"), ("c", "a"), ("p/c", "p/a"), np.array([2, 0]), ("z", "x"))
    assert chosen != table
    assert hash(chosen) == hash(table.select(np.array([2, 0])))
    assert len(table.select([])) == 0
    with pytest.raises(ValueError, match="read-only"):
        table.labels[0] = 5
    with pytest.raises(ValueError, match="one id, path, label and digest per photo"):
        ImageTable(Path("r"), ("a",), (), np.array([0]), ("x",))
