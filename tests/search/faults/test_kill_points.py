"""The driver dies at each named point, and at random moments: the study ends as if nothing had happened.

Several deaths in one life of one study: each finds what the earlier ones left. Point and moment are in another process
than the test: see kill_driver.py.
"""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from search.policy.records import TrialState
from search.study.folder import StudyFolder
from tests.helpers import ROOT
from tests.helpers.search.driver_life import Life, decisions, recorded_states
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

pytestmark = pytest.mark.fault

NOWHERE = "never::0"

POINTS = (
    "birth:before:1",
    "birth:after:1",
    "decision:before:1",
    "decision:after:1",
    "ask:before:1",
    "ask:after:1",
    "hand-out:before:1",
    "hand-out:after:1",
    "checkpoint:before:1",
    "checkpoint:after:1",
    "report:before:1",
    "append:torn:1",
    "report:after:1",
    "report:after:1",  # the last epoch of its segment: the message about the segment's end is lost
    "promotion:before:1",
    "promotion:after:1",
    "checkpoint:after:1",
    "end:before:1",
    "end:after:1",  # in the repair on resume: the trial is complete, and nothing else was done
    "ask:after:1",
    "hand-out:after:2",  # the next trial's
    "checkpoint:before:2",
    "finish:before:1",
    "pruning:before:1",  # the study is marked as finished, and Optuna knows of no trial yet
)
"""In the order of one search. The number counts occurrences within the driver that dies."""

TWO_AT_A_TIME = EXPERIMENT.replace("max_concurrent: 1", "max_concurrent: 2\n  sampler: random").replace(
    "trials: 4", "trials: 6"
)

WITHOUT_RAY = """
import sys
from search.cli.app import main
sys.argv = ["carsearch", "resume", sys.argv[1]]
try:
    main()
finally:
    assert "ray" not in sys.modules
"""

RANDOM_DEATHS = 10
MOST_WRITES = 7
"""Largest number of journal lines between two random deaths; up to a second passes after them."""


@pytest.fixture
def life(finished: Ran, tmp_path: Path) -> Iterator[Life]:
    """A new study on the photos of the undisturbed search."""
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    lived = Life(tmp_path)
    yield lived
    lived.end()


def assert_as_undisturbed(life: Life, finished: Ran) -> None:
    """Checks equal trials, parameters, metrics and decisions. No epoch is repeated more than once per death."""
    assert timeless(life.records(), uninterrupted=False) == timeless(finished.records, uninterrupted=False)
    assert decisions(life.folder) == decisions(finished.folder)
    times = Counter(life.trained())
    assert sum(times.values()) - len(times) <= len(life.deaths)
    assert all(record.deaths == () for record in life.records()), "a driver's death is not a trial's death"


def test_a_driver_killed_at_each_named_point_changes_no_result(
    life: Life, finished: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    for where in POINTS:
        assert life.killed(where), f"{where}: the search ended before\n{life.output}"
        if where == "birth:before:1":
            assert not life.folder.root.exists()
        if where == "hand-out:after:1" and len(life.records()) == 1:
            status = run_cli("status", str(life.folder.root), cwd=life.cwd).stdout
            assert "1 interrupted" in status
            assert "1 running" not in status
            assert f"resume with 'carsearch resume {life.folder.root}'" in status
        if where == "append:torn:1":
            assert not life.folder.log.read_bytes().endswith(b"\n")
            assert life.folder.log.with_name("study.log.lock").exists()
    show(capsys, f"{life.table()}\n{len(POINTS)} deaths in {time.monotonic() - started:.0f} s")

    again = run_cli("resume", str(life.folder.root), cwd=life.cwd)
    assert again.returncode == 0, again.stderr
    assert "is finished" in again.stdout
    assert life.folder.report.exists(), "the last driver died before it could write it"
    assert_as_undisturbed(life, finished)
    assert not list(life.folder.root.parent.glob(".*")), "no draft is left behind"


@pytest.mark.release
def test_a_driver_killed_at_random_moments_changes_no_result(
    life: Life, finished: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    die_at_random(life, np.random.default_rng(0), RANDOM_DEATHS)
    show(capsys, life.table())
    assert len(life.deaths) > RANDOM_DEATHS // 2, "the search was over too early for what the test is about"
    assert_as_undisturbed(life, finished)


def test_with_two_concurrent_trials_none_is_lost_or_run_twice(life: Life, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(life.cwd, TWO_AT_A_TIME)
    die_at_random(life, np.random.default_rng(1), 4)
    show(capsys, life.table())
    records, jobs = life.records(), decisions(life.folder)
    assert len(records) == 6
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert records[0].state is TrialState.COMPLETE
    for record in records:
        assert [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
        assert record.deaths == ()
    ordinary = {record.number for record in records if not record.is_baseline and not record.is_run_to_end}
    promoted = {trial for trial, stop, _ in jobs if stop == 1 and trial in ordinary}
    assert len(promoted) <= len(records) // 3
    assert len(life.trained()) - len(set(life.trained())) <= 2 * len(life.deaths)
    assert most_at_once(life.folder) == 2


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Prints past pytest's capturing, since the table is the result of the test."""
    with capsys.disabled():
        sys.stdout.write(text + "\n")


def die_at_random(life: Life, chance: np.random.Generator, deaths: int) -> None:
    """Kills this many drivers, or fewer if the search ends first; then runs a driver to its end."""
    for number in range(deaths):
        writes, then_s = int(chance.integers(1, MOST_WRITES + 1)), float(chance.uniform(0.0, 1.0))
        stop = partial(life.kill_after, writes, then_s)
        if not life.killed(NOWHERE, stop, label=f"random {number}: {writes} writes"):
            return
    assert not life.killed(NOWHERE), life.output


def most_at_once(folder: StudyFolder) -> int:
    """The number of concurrent segments. Checks that no trial runs twice at the same time."""
    running: set[int] = set()
    most = 0
    for trial, state in recorded_states(folder):
        if state == TrialState.RUNNING:
            assert trial not in running, "never the same trial twice at once"
            running.add(trial)
        else:
            running.discard(trial)
        most = max(most, len(running))
    return most


def test_a_finished_search_takes_more_trials(finished: Ran, tmp_path: Path) -> None:
    shutil.copytree(finished.folder.root, tmp_path / "tiny")
    folder = StudyFolder(tmp_path / "tiny")
    before, frozen = read_records(folder), folder.experiment.read_bytes()

    more = run_cli("resume", str(folder.root), "--set", "search.trials=5", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "changed search.trials: 4 -> 5" in more.stdout
    records = read_records(folder)
    assert records[:4] == before
    assert [record.state for record in records[4:]] == [TrialState.COMPLETE], (
        "the best of the new trials is run to its end"
    )
    assert folder.experiment.read_bytes() == frozen
    assert "search.trials: 4 -&gt; 5" in folder.report.read_text(encoding="utf-8")
    status = run_cli("status", str(folder.root), cwd=tmp_path).stdout
    assert "5 of 5 trials ended" in status
    assert ": search.trials: 4 -> 5" in status

    again = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(folder.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert f"{folder.root} is finished: " in again.stdout
    assert read_records(folder) == records
