"""The study's journal on a full disk: acknowledged entries are there, and nothing of failed ones."""

from pathlib import Path

from tests.helpers.small_disk import run_on_a_small_disk

SCRIPT = """
import os
from pathlib import Path
from carcls.errors import DiskFullError
from search.study.study import Study

root = Path.cwd() / "study"
root.mkdir()
study = Study.create(root, "tiny")
study.set_value("before", 1)
free = os.statvfs(root)
ballast = root / "ballast"
ballast.write_bytes(bytes(free.f_bavail * free.f_frsize))
try:
    study.set_value("lost", "x" * 9000)
except DiskFullError as error:
    print(error)
print(study.get_value("lost"))
ballast.unlink()
study.set_value("after", 2)
study.close()
with Study.open(root) as again:
    print(again.get_value("before"), again.get_value("lost"), again.get_value("after"))
"""


def test_a_write_to_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    told, value, kept = run_on_a_small_disk(SCRIPT, tmp_path, size="1m").splitlines()
    assert told == (
        f"{tmp_path / 'study' / 'study.log'}: no room left on its disk (No space left on device; 0.0 MB free):"
        " free some space there"
    )
    assert (value, kept) == ("None", "1 None 2")
