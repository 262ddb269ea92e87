"""A cluster that denies access: reported in one line, at once, before anything is written."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.cli.app import main
from search.experiment.experiment import load
from search.on_ray.auth import AUTH_ENV, AUTH_PATH_ENV
from search.study.folder import StudyFolder
from search.study.frozen import recorded_changes
from search.study.record.journal import LOCK_NAME
from search.study.study import Study
from tests.helpers.network.fake_gcs import fake_gcs
from tests.helpers.search.tiny import write_tiny

JUDGED = ("--set", "data.holdout={fraction: 0.17}")


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster whose token is unknown."""
    for name in (AUTH_ENV, AUTH_PATH_ENV, "RAY_ADDRESS", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with fake_gcs("r" * 64) as (_, address):
        yield address


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The command's stderr, after it exited with 2."""
    monkeypatch.setattr(sys, "argv", ["carsearch", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    return told.err


@pytest.mark.parametrize("command", [("run",), ("record", "--table", "curves.jsonl.gz", *JUDGED)])
def test_no_study_is_made_for_a_search_that_could_not_begin(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple
) -> None:
    write_tiny(tmp_path)
    told = refused(monkeypatch, capsys, *command, "tiny.yaml", "--address", locked)
    assert told.startswith(f"carsearch: the Ray cluster at {locked} requires a token, and none was found: ")
    assert told.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data", "tiny.yaml"}


def test_the_study_that_was_to_be_replaced_stands(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny(tmp_path)
    mark = tmp_path / "results" / "tiny" / "mark"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert "requires a token" in refused(monkeypatch, capsys, "run", "tiny.yaml", "--replace", "--address", locked)
    assert mark.exists()


def test_a_resume_changes_nothing(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = StudyFolder(tmp_path / "results" / "tiny")
    folder.root.mkdir(parents=True)
    folder.experiment.write_text(load(write_tiny(tmp_path)).resolved_yaml(), encoding="utf-8")
    Study.create(folder.root, "tiny").close()
    before = {path.name: path.read_bytes() for path in folder.root.iterdir() if path.name != LOCK_NAME}

    command = ("resume", str(folder.root), "--set", "search.trials=9", "--address", locked)
    assert "requires a token" in refused(monkeypatch, capsys, *command)

    assert recorded_changes(folder) == ()
    assert {path.name: path.read_bytes() for path in folder.root.iterdir() if path.name != LOCK_NAME} == before
