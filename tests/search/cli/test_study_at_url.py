"""Studies whose `results` is a URL, as commands use them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli.actions import open_whole_study
from search.cli.study_argument import study_to_change, study_to_read
from search.driver.create import create_study, study_of
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import load
from search.study.bucket import places
from search.study.bucket.places import store_changes
from search.study.folder import StudyFolder
from tests.helpers import ROOT
from tests.helpers.network.s3_server import S3Server
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import read_records, timeless
from tests.helpers.search.tiny import write_tiny

_LONG_S = 900.0


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "_used", set())
    on_machine("one", tmp_path, monkeypatch)
    return write_tiny(tmp_path)


def on_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine has another store."""
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / name))


def test_a_created_study_is_in_the_bucket_and_opens_on_another_machine(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path / 'far'}"
    made = create_study(load(file, [f"results={url}"]))
    assert made.root.is_relative_to(tmp_path / "one" / "studies")
    far = tmp_path / "far" / "tiny"
    assert (far / "split.csv").read_bytes() == made.split.read_bytes()
    assert b"".join(path.read_bytes() for path in sorted(far.glob("study.log.parts/*"))) == made.log.read_bytes()
    on_machine("two", tmp_path, monkeypatch)
    root = study_to_read(f"{url}/tiny/")
    assert root.is_relative_to(tmp_path / "two" / "studies")
    folder, experiment, study = open_whole_study(root)
    assert (experiment.name, experiment.results, experiment.results_url) == ("tiny", folder.root.parent, url)
    assert study is not None
    assert study.records() == ()


def test_run_finds_the_study_of_another_machine(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [f"results=file://{tmp_path / 'far'}"]
    made = create_study(load(file, changes))
    with made.log.open(encoding="utf-8") as log:
        assert log.readline()
    on_machine("two", tmp_path, monkeypatch)
    assert study_of(load(file, changes)) is None, "untouched, as it has no trial"
    again = create_study(load(file, [*changes, "search.trials=9"]))
    assert not again.root.is_relative_to(made.root.parent)
    on_machine("three", tmp_path, monkeypatch)
    opened = open_whole_study(study_to_change(f"file://{tmp_path / 'far'}/tiny"))[1]
    assert opened.search.trials == 9


def test_what_a_command_writes_is_stored_at_its_end(file: Path, tmp_path: Path) -> None:
    folder = create_study(load(file, [f"results=file://{tmp_path / 'far'}"]))
    folder.report.write_text("page")
    store_changes()
    assert (tmp_path / "far" / "tiny" / "report.html").read_text() == "page"


def test_a_record_in_a_database_is_refused(file: Path) -> None:
    with pytest.raises(ExperimentError, match=r"storage: expected null: with results at a URL, the record is there"):
        load(file, ["results=s3://cars/studies", "storage=postgresql://me@db/cars"])


def test_a_url_without_a_study_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"file://x: expected the URL of a study"):
        study_to_read("file://x")
    with pytest.raises(StudyError, match=r"https://x/y: expected a folder or a URL of s3://, gs://,"):
        study_to_read("https://x/y")
    with pytest.raises(StudyError, match=r"holds no study"):
        open_whole_study(study_to_read(f"file://{tmp_path / 'far'}/none"))


@pytest.mark.fault
@pytest.mark.release
@pytest.mark.timeout(3600)
def test_a_search_continues_on_an_empty_machine(
    file: Path, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine is killed in the middle and lost. All that follows happens on the second."""
    trials = ("--set", "search.trials=2")
    undisturbed = run_cli("run", "tiny.yaml", *trials, cwd=tmp_path, within_s=_LONG_S)
    assert undisturbed.returncode == 0, undisturbed.stderr
    url = s3.url(tmp_path.name)
    base, _, query = url.partition("?")
    study = f"{base}/tiny?{query}"
    killer = ROOT / "tests" / "helpers" / "search" / "kill_driver.py"
    killed = subprocess.run(
        [sys.executable, killer, "report:after:4", "run", "tiny.yaml", *trials, "--set", f"results={url}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    shutil.rmtree(tmp_path / "one")
    on_machine("two", tmp_path, monkeypatch)
    for command in ("status", "resume", "report", "retrain", "submit", "status"):
        done = run_cli(command, study, cwd=tmp_path, within_s=_LONG_S)
        assert done.returncode == 0, done.stderr
    on_machine("three", tmp_path, monkeypatch)
    folder = StudyFolder(study_to_change(study))
    there = timeless(read_records(folder), uninterrupted=False)
    assert there == timeless(read_records(StudyFolder(tmp_path / "results" / "tiny")), uninterrupted=False)
    for path in (folder.report, folder.model, folder.scores, folder.submission):
        assert path.is_file(), path
