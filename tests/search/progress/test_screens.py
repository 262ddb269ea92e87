"""The live view's last screen on a real pseudo-terminal, as golden text.

People read these screens; rewrite the files with CARSEARCH_REWRITE=1 and look at them.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from search.policy.records import TrialState
from search.progress.ladder import ladder_rows
from search.progress.status_view import StatusView, best_so_far, failure_lines
from search.progress.summary import Spent, worker_seconds_left
from search.terminal.sparkline import sparkline
from tests.helpers import ROOT
from tests.helpers.search.final_script import records
from tests.helpers.search.screen import Terminal
from tests.helpers.search.trial_builders import climb, trial

SCRIPT = ROOT / "tests" / "helpers" / "search" / "final_script.py"
GOLDEN = Path(__file__).parent / "screens"


@pytest.mark.parametrize(("columns", "rows"), [(80, 40), (160, 60)])
def test_the_last_screen(tmp_path, columns, rows):
    terminal = Terminal([sys.executable, str(SCRIPT)], cwd=tmp_path, columns=columns, rows=rows)
    try:
        terminal.read_until(lambda: "after the view" in terminal.screen.text, "the end")
        assert terminal.end() == 0
    finally:
        terminal.close()
    golden = GOLDEN / f"{columns}.txt"
    if os.environ.get("CARSEARCH_REWRITE"):
        golden.write_text(terminal.screen.text + "\n", encoding="utf-8")
    assert terminal.screen.text + "\n" == golden.read_text(encoding="utf-8")
    assert max(map(len, terminal.screen.lines)) <= columns


def test_the_ladder_counts_trials_at_each_rung():
    assert ladder_rows(records()) == [
        ("head", "1", "1", "4", "0.7500"),
        ("half", "0", "0", "3", "0.7500"),
        ("full", "1", "0", "2", "0.8750"),
    ]
    assert ladder_rows(()) == []


def test_the_best_so_far_never_falls_and_failures_do_not_count():
    assert best_so_far(records()) == [0.75, 0.75, 0.875, 0.875, 0.875]
    assert sparkline([0.5, 0.75, 1.0]) == "▁▅█"
    assert sparkline([0.5]) == ""
    assert sparkline([0.5, 0.5]) == "▁▁"


def test_failures_are_counted_by_reason():
    failed = [trial(n, TrialState.FAIL, cause=cause) for n, cause in enumerate(["NaN: a", "NaN: b", "x", None])]
    assert failure_lines(failed) == ("failures: 2 × NaN; 1 × x; 1 × no cause recorded",)
    assert failure_lines(records()[:1]) == ()


def test_time_left_of_a_worker():
    four, five = records()[4:]
    assert worker_seconds_left(four, (2, 1, 3)) == 3 * 3.5, "three epochs of the stage that follows"
    assert worker_seconds_left(five, (2, 1, 3)) == 3.5
    assert worker_seconds_left(five, ()) is None
    assert worker_seconds_left(trial(6, TrialState.RUNNING), (2, 1, 3)) is None


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("height", [12, 24, 50])
def test_the_view_keeps_to_its_share_of_the_height(height, share):
    many = tuple(trial(n, TrialState.PAUSED, climb([0.5])) for n in range(100))
    console = Console(width=100, height=height, force_terminal=True, color_system=None)
    view = StatusView("cars", many, Spent(), tuple(f"event {n}" for n in range(9)), None, share)
    lines = console.render_lines(view, console.options)
    assert 5 <= len(lines) <= max(6, round(height * share))


def test_an_end_tomorrow_has_its_date():
    done = tuple(trial(n, TrialState.COMPLETE, climb([0.5], [0.5], [0.5])) for n in range(4))
    spent = Spent(trials_limit=8, elapsed_s=3600.0)
    console = Console(width=100, force_terminal=True, color_system=None)
    for hour, text in ((12, "expected end: 13:30"), (23, "expected end: 00:30 on 2026-01-02")):
        view = StatusView("cars", done, spent, (), datetime(2026, 1, 1, hour, 30, tzinfo=UTC))
        with console.capture() as told:
            console.print(view)
        assert f"{text}\n" in told.get().replace(" \n", "\n")
