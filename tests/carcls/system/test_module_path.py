"""Modules in the current folder are never imported, however a process is started."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.dataset.scan import scan_in_processes
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.system.module_path import ROOT, entries_without, remove_current_folder, without_current_folder

FOLDER = Path("/somewhere/mine")
ITSELF = ["", str(FOLDER), f"{FOLDER}/", f"{FOLDER}/.", "/somewhere/./mine", "/somewhere/other/../mine"]
OTHERS = ["/somewhere", "/somewhere/mine/below", "/somewhere/mine2", "/usr", "relative"]


@given(entries=st.lists(st.sampled_from([*ITSELF, *OTHERS])))
def test_the_folder_is_removed_under_every_name_and_nothing_else(entries: list[str]) -> None:
    assert entries_without(entries, FOLDER) == [entry for entry in entries if entry in OTHERS]


def test_our_own_checkout_stays_on_the_path() -> None:
    assert entries_without(["", str(ROOT)], ROOT) == ["", str(ROOT)]


def test_links_to_the_folder_are_the_folder(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    entries = [str(mine), str(link), f"{tmp_path}/mine/../mine", "", str(tmp_path)]
    assert entries_without(entries, mine) == [str(tmp_path)]
    assert entries_without(entries, link) == [str(tmp_path)]


def test_pythons_own_library_stays(tmp_path: Path) -> None:
    library = Path(os.__file__).parent
    assert entries_without([str(library), "/usr"], library) == [str(library), "/usr"]


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder full of modules that announce their import and then exit the process."""
    names = [
        "search",
        "carcls",
        "keras",
        "numpy",
        "cv2",
        "multiprocessing",
        "albumentations",
        "random",
        "sitecustomize",
    ]
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path)!r} + '/caught-{name}', 'w'); raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as a notebook or `python -m` has it
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(ROOT)]))  # an empty entry means the current folder
    return tmp_path


def caught(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("caught-*"))


def test_processes_that_scan_photos(traps: Path) -> None:
    assert scan_in_processes(os.fspath, [[Path("a")], [Path("b")]], 2) == ["a", "b"]
    assert caught(traps) == []


def test_a_batch_worker_server_and_its_worker(traps: Path) -> None:
    batch_server = BatchWorkerServer.spawned()
    memory = os.memfd_create("test")
    os.ftruncate(memory, 4096)
    with batch_server.worker(memory) as worker:
        worker.settimeout(60)
        worker.sendall(b"\0\0\0\x01x")  # an invalid task, which kills the worker
        with contextlib.suppress(ConnectionResetError):
            assert worker.recv(1) == b""
    batch_server.close()
    os.close(memory)
    assert caught(traps) == []


def test_a_notebook_finds_its_own_modules_afterwards(traps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # a test of commands may have set it in this process
    path, variable = list(sys.path), os.environ["PYTHONPATH"]
    with without_current_folder():
        assert "" not in sys.path
        assert os.environ["PYTHONPATH"] == str(ROOT)
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert (sys.path, os.environ["PYTHONPATH"]) == (path, variable)
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_command_removes_it_permanently(traps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    remove_current_folder()
    program = "import sys, random, multiprocessing, numpy, carcls.system.module_path; print(len(sys.path))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr, caught(traps)) == (0, "", [])
