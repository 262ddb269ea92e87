"""Ray's folder is private, and folders of killed drivers are deleted."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search.on_ray.private_folder import private_folder

OLD_S = 1_000_000_000
HOLDER = """
import sys, tempfile
from search.on_ray.private_folder import private_folder
tempfile.tempdir = sys.argv[1]
with private_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch):
    """Short enough for a socket's path, unlike pytest's own folder."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_other_users_may_not_enter_and_nothing_is_left(short_tmp: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == short_tmp
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "ray").mkdir()
        (folder / "ray" / "log").write_text("x")
    assert list(short_tmp.iterdir()) == []


def test_a_long_name_would_leave_no_room_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_folder() as folder:
        assert folder.parent == Path("/tmp")  # noqa: S108 - it is what is asked
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_killed_driver_left_goes_and_a_living_ones_stays(short_tmp: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(short_tmp)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        killed, living = (Path(holder.stdout.readline().strip()) for holder in holders)
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        young, foreign = short_tmp / ".carsearch-young000", short_tmp / "other"
        link = short_tmp / ".carsearch-link0000"
        link.symlink_to(killed)
        shutil.copytree(killed, young)
        foreign.mkdir()
        for folder in (killed, living, foreign):
            (folder / "file").write_text("x")
            os.utime(folder, (OLD_S, OLD_S))
        os.utime(link, (OLD_S, OLD_S), follow_symlinks=False)

        with private_folder() as mine:
            assert {path.name for path in short_tmp.iterdir()} == {
                living.name, young.name, foreign.name, link.name, mine.name
            }  # fmt: skip
        assert (living / "file").exists()
        assert (foreign / "file").exists()
    finally:
        for holder in holders:
            holder.communicate()


@pytest.mark.parametrize(
    ("name", "mode", "marked"),
    [
        ("carsearch-notes", 0o755, False),
        ("carsearch-abcd1234", 0o700, True),
        (".carsearch-results", 0o700, True),
        (".carsearch-abcd1234", 0o755, True),
        (".carsearch-abcd1234", 0o700, False),
    ],
)
def test_a_users_own_folder_of_a_like_name_stays(short_tmp: Path, name: str, mode: int, marked: bool) -> None:
    mine = short_tmp / name
    mine.mkdir()
    (mine / "results.csv").write_text("weeks of work")
    if marked:
        (mine / "made-by-carsearch").touch()
    mine.chmod(mode)
    os.utime(mine, (OLD_S, OLD_S))
    with private_folder():
        assert (mine / "results.csv").read_text() == "weeks of work"
