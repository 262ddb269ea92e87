"""Which names in object storage are files of a study."""

from pathlib import Path

import pytest

from search.errors import StudyError
from search.study.bucket.bucket import Bucket


def test_a_copy_of_a_users_file_keeps_the_spaces_of_its_name(tmp_path):
    name = "policies/my\u202fpolicy-0123456789abcdef.yaml"
    assert Bucket(f"file://{tmp_path}").path_below(Path("/here"), name) == Path("/here") / name


@pytest.mark.parametrize("name", ["../a", "/a", "a\tb", "a\nb", "a\u2028b"])
def test_names_that_leave_the_folder_or_hold_control_characters_are_refused(name, tmp_path):
    with pytest.raises(StudyError, match="not a file of a study"):
        Bucket(f"file://{tmp_path}").path_below(Path("/here"), name)
