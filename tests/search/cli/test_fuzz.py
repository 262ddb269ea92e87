"""With any files, a command exits with 0, 1 or 2 and a message, never with a traceback."""

import logging
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search.cli.app import main
from tests.carcls.dataset.test_fuzz import ARCHIVES
from tests.helpers.mutations import mutated
from tests.helpers.photos.hostile import photo
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import EXPERIMENT

FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HOSTILE_NAME = "\x1b]0;owned\x07[red]\u202e<script>"


@pytest.fixture
def carsearch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: str) -> str:
        """The command's output. Any exception but SystemExit would be a traceback, and fails the test."""
        monkeypatch.setattr(sys, "argv", ["carsearch", *arguments])
        for root in ("search", "carcls"):  # as in a new process: an earlier test's handlers write to its closed streams
            monkeypatch.setattr(logging.getLogger(root), "handlers", [])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, error = capsys.readouterr()
        assert code in (0, 1, 2, None)
        assert bool(error) or not code, "every failure has a message"
        assert "Traceback" not in out + error
        assert not set(out + error) & set("\x1b\x07\u202e")
        return out + error

    return run


@FUZZ
@given(content=mutated((EXPERIMENT.encode(),)), override=st.text(max_size=20) | st.just("search.trials=2"))
@example(content=HOSTILE_NAME.encode(), override=f"{HOSTILE_NAME}=1")
@example(content=EXPERIMENT.encode(), override=f"name={HOSTILE_NAME}")
@example(content=EXPERIMENT.encode(), override=f"data.root={HOSTILE_NAME}")
def test_check(carsearch, tmp_path, content, override):
    file = tmp_path / "tiny.yaml"
    file.write_bytes(content)
    carsearch("check", str(file), "--set", override)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("command", ["check", "status", "resume", "report", "retrain", "submit"])
@pytest.mark.parametrize("what", ["nothing", "folder", "loop", "long", "hostile"])
def test_paths_that_are_none_of_ours(carsearch, tmp_path, command, what):
    path = tmp_path / {"long": "x" * 300, "hostile": HOSTILE_NAME}.get(what, what)
    if what in ("folder", "hostile"):
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path)
    assert carsearch(command, str(path)).startswith("carsearch: ")


@FUZZ
@given(data=st.data())
def test_status_of_a_damaged_study(carsearch, finished: Ran, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("study") / "tiny"
    folder.mkdir()
    for name in ("experiment.yaml", "study.log", "split.csv", "quarantine.csv"):
        shutil.copyfile(finished.folder.root / name, folder / name)
    damaged = folder / data.draw(st.sampled_from(("experiment.yaml", "study.log", "split.csv", "quarantine.csv")))
    damaged.write_bytes(data.draw(mutated((damaged.read_bytes(),))))
    carsearch("status", str(folder))


@FUZZ
@given(mutated(ARCHIVES))
def test_unpack(carsearch, tmp_path_factory, content):
    outer = tmp_path_factory.mktemp("unpack")
    (outer / "train.zip").write_bytes(content)
    carsearch("data", "unpack", str(outer / "train.zip"), str(outer / "root"))
    assert {path.name for path in outer.iterdir()} <= {"train.zip", "root"}


def test_names_of_classes_and_photos_are_shown_and_not_obeyed(carsearch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate((f"{HOSTILE_NAME}/1.jpg", f"b/{HOSTILE_NAME}.jpg", "b/3.jpg")):
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo("JPEG", quality=40 + number) if number else b"")
    Path(os.fsdecode(b"data/b/\xff.jpg")).write_bytes(photo("JPEG", quality=80))
    said = carsearch("data", "check", "data")
    assert r"\x1b]0;owned\x07[red]\u202e<script>" in said
