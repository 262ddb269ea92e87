"""Which names of files in object storage may be copied to a folder."""

import pytest

from carcls.dataset.object_storage import ObjectStorage
from carcls.errors import DataError


def names_below(folder) -> list[str]:
    return [file.name for file in ObjectStorage(f"file://{folder}").files()]


@pytest.mark.parametrize(
    "name", ["Photo 9.41\u202fAM.jpg", "a\u00a0b.jpg", "\ufeffa.jpg", "a\u200db.jpg", "\ue000.jpg"]
)
def test_names_with_unusual_spaces_and_invisible_signs_are_copied(name, tmp_path):
    (tmp_path / name).touch()
    assert names_below(tmp_path) == [name]


@pytest.mark.parametrize("sign", ["\t", "\n", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"])
def test_names_with_control_characters_and_line_ends_are_refused(sign, tmp_path):
    (tmp_path / f"a{sign}b.jpg").touch()
    with pytest.raises(DataError, match="cannot be copied to a folder: a file is named 'a"):
        names_below(tmp_path)
