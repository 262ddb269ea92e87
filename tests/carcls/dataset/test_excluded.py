"""The list of photos to leave out names them as they are on disk, or in another spelling of the same name."""

from pathlib import Path

import pytest

from carcls.dataset.csv_rows import Row
from carcls.dataset.excluded import without_excluded
from carcls.errors import DataError


def excluded(folder: Path, content: str, *paths: str) -> list[str]:
    """The photos of `paths` that a list of this content leaves out."""
    file = folder / "audit.csv"
    file.write_bytes(f"path\n{content}\n".encode("utf-8", "surrogateescape"))
    kept, left_out = without_excluded([Row(0, path, "0", path) for path in paths], file)
    assert {reason for _, reason in left_out} <= {"excluded by audit.csv"}
    names = [row.path for row, _ in left_out]
    assert [row.path for row in kept] == [path for path in paths if path not in names]
    return names


def test_names_that_are_not_utf8_are_found(tmp_path):
    assert excluded(tmp_path, "a/\udcff.jpg", "a/1.jpg", "a/\udcff.jpg") == ["a/\udcff.jpg"]


def test_a_name_of_no_photo_is_refused_with_its_line(tmp_path):
    with pytest.raises(DataError, match=r"audit\.csv:2: 'b/1\.jpg' is no labelled photo of this data folder"):
        excluded(tmp_path, "b/1.jpg", "a/1.jpg")


COMPOSED, DECOMPOSED = "\u0439/\u00e9.jpg", "\u0438\u0306/e\u0301.jpg"


@pytest.mark.parametrize(("named", "on_disk"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_path_finds_its_photo_in_either_unicode_form(named, on_disk, tmp_path):
    assert excluded(tmp_path, named, on_disk, "a/1.jpg") == [on_disk]


def test_a_path_finds_its_photo_without_the_spaces_around_names(tmp_path):
    assert excluded(tmp_path, "BMW/1.jpg", "BMW /1.jpg ", "a/1.jpg") == ["BMW /1.jpg "]


def test_of_two_spellings_on_disk_only_the_one_that_is_named_is_left_out(tmp_path):
    assert excluded(tmp_path, COMPOSED, COMPOSED, DECOMPOSED) == [COMPOSED]
