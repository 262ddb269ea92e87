"""The finals in report, status and retraining."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import ttest_rel

from search.errors import StudyError
from search.experiment.search_settings import FinalistSettings
from search.policy.finals import NO_FINALS
from search.policy.records import TrialRecord, TrialState
from search.progress.live_table import PlainProgress, print_status
from search.progress.search_events import event_lines
from search.progress.summary import (
    Spent,
    best_trial,
    ended_count,
    leading_trial,
    seconds_left,
    status_lines,
    winner,
    winner_line,
)
from search.report import report_data
from search.report.html import render
from search.report.sections.confidence import repeated_gain
from tests.helpers.search.report_page import Page
from tests.helpers.search.trial_builders import climb, epoch_report, trial

TWO_TWICE = FinalistSettings(count=2, seeds=2)


def whole(number: int, accuracy: float, *, repeats: int | None = None, **changes: object) -> TrialRecord:
    made = trial(number, TrialState.COMPLETE, climb([0.25], [0.5], [accuracy]))
    return replace(made, repeats=repeats, is_baseline=number == 0, **changes)


BASELINE, LUCKY, STEADY = whole(0, 0.75), whole(1, 0.9375), whole(2, 0.875)
SEARCHED = (BASELINE, LUCKY, STEADY, trial(3, TrialState.PRUNED, climb([0.5])))
FIRST = (whole(4, 0.6875, repeats=0), whole(5, 0.625, repeats=1), whole(6, 0.875, repeats=2))
SECOND = (whole(7, 0.75, repeats=0), whole(8, 0.6875, repeats=1), whole(9, 0.9375, repeats=2))
ALL = (*SEARCHED, *FIRST, *SECOND)
"""Trial 1 leads by chance: its repeats are no better than the baseline's."""


def data(records=ALL, finalists=TWO_TWICE, **changes):
    values = {"name": "cars", "experiment_text": "", "validation_photos": 10_000} | changes
    return report_data(records=records, finalists=finalists, **values)


def text(report) -> str:
    return re.sub(r"\s+", " ", " ".join(Page(render(report)).texts))


def test_the_winner_is_the_finals_and_not_the_luckiest():
    assert winner(ALL).number == leading_trial(ALL).number == 2
    assert winner(SEARCHED).number == 1
    assert winner((*SEARCHED, *FIRST[:1])).number == 0, "no other trial was repeated"
    assert winner((*SEARCHED, *FIRST, replace(SECOND[0], state=TrialState.RUNNING))).number == 2
    assert winner(ALL, 8).number == 8, "a repeat may be named"
    assert best_trial(ALL).number == 1
    with pytest.raises(StudyError, match="no trial 10 in this study"):
        winner(ALL, 10)


def test_a_baseline_that_holds_up_best_wins():
    worse = (*FIRST[:2], whole(6, 0.25, repeats=2))
    assert winner((*SEARCHED, *worse)).number == 1
    worse = (FIRST[0], whole(5, 0.125, repeats=1), whole(6, 0.25, repeats=2))
    report = data((*SEARCHED, *worse))
    assert report.winner.number == 0
    assert (
        report.winner.verdict
        == "Averaged over all seeds, no finalist was better than the default recipe, the baseline."
    )
    assert winner_line((*SEARCHED, *worse)) == (
        "winner: trial 0000, the baseline; accuracy at selection 0.7500, mean of 1 repeat 0.6875"
    )


def test_both_scores_are_in_status_and_at_the_end_of_the_search(capsys):
    line = (
        "winner: trial 0002; accuracy at selection 0.8750, mean of 2 repeats 0.9062;"
        " baseline: 0.7500, mean of 2 repeats 0.7188"
    )
    assert status_lines("cars", ALL, Spent(trials_limit=4)) == (
        "cars: 3 complete, 1 pruned; finals: 6 complete",
        "best: trial 0001, best accuracy 0.9375 (log-loss 0.0625)",
        line,
        "budget: 4 of 4 trials ended, 0.00 GPU-hours",
    )
    assert winner_line(SEARCHED) is None
    console = Console(width=400, color_system=None)
    with PlainProgress(console, "cars", ALL):
        pass
    assert capsys.readouterr().out.splitlines()[-1] == line
    print_status(Console(width=400, force_terminal=True, color_system=None), "cars", ALL, Spent())
    assert line in capsys.readouterr().out


def test_repeats_are_no_trials_in_any_count():
    assert ended_count(ALL) == 4
    assert seconds_left(ALL, Spent(elapsed_s=60.0, trials_limit=8)) == 60.0


def test_a_running_repeat_is_shown_as_one():
    running = replace(trial(4, TrialState.RUNNING), repeats=2)
    assert event_lines(SEARCHED, (*SEARCHED, running)) == ("trial 0004 started (repeats trial 0002): batch_size=16",)
    one_epoch = replace(running, reports=(epoch_report(1, accuracy=0.5),))
    assert status_lines("cars", (*SEARCHED, one_epoch), Spent())[-1] == (
        "trial 0004 (repeats 0002): stage 1/3 head, epoch 1, best accuracy 0.5000 (log-loss 0.5000)"
    )


def test_the_report_shows_both_scores_of_each_finalist():
    report = data()
    rows = [(row.number, row.role, row.selected, row.repeats, row.repeated, row.overall) for row in report.finals.rows]
    assert rows == [
        (2, "winner", 0.875, (0.875, 0.9375), 0.90625, pytest.approx(0.8958333)),
        (1, "other", 0.9375, (0.625, 0.6875), 0.65625, 0.75),
        (0, "baseline", 0.75, (0.6875, 0.75), 0.71875, pytest.approx(0.7291667)),
    ]
    assert report.finals.rows[0].repeated_interval == pytest.approx((0.9004, 0.9118), abs=5e-5)
    assert (report.finals.progress, report.winner.number, report.winner.score.accuracy) == (None, 2, 0.875)
    page = text(report)
    for shown in (
        "Trial 0002, at selection 0.8750",
        "Trial 0002, repeated 0.9062 mean of 2 trainings with other seeds; baseline 0.7188",
        "the winner is the best of 3 finalists by the mean over all seeds",
        "0002 winner 0.8750 0.8750, 0.9375 0.9062 0.9004 – 0.9118 0.8958",
        "0000 baseline 0.7500 0.6875, 0.7500 0.7188",
    ):
        assert shown in page


def test_repeats_appear_only_in_the_finals_and_count_as_time():
    report, without = data(), data(SEARCHED, NO_FINALS)
    assert [row.number for row in report.leaderboard] == [row.number for row in without.leaderboard]
    assert [curve.number for curve in report.curves] == [0, 1, 2, 3]
    assert report.pooled_stages == without.pooled_stages
    assert report.trained_s == without.trained_s + 6 * 3 * 3.75
    assert (without.finals, "Finals" in render(without)) == (None, False)
    lost = replace(FIRST[1], state=TrialState.FAIL, cause="node lost")
    assert data((*SEARCHED, lost)).failures[0].cause == "repeats trial 0001: node lost"


def test_the_verdict_is_that_of_the_repeats():
    # Every repeat gained 6.25 points from the first round to the second: nothing is left over for noise.
    assert data().winner.verdict == (
        "+18.75 points over the baseline in the mean of the repeats (95 %: +18.75 to +18.75), which is more than"
        " the noise of retraining and of the photos."
    )
    assert data(validation_photos=20).winner.verdict.endswith(
        "more than the noise of retraining, but within that of the photos: the intervals overlap."
    )
    assert data(validation_photos=None).winner.verdict.endswith(
        "the number of photos is unknown, and so is their noise."
    )
    shaky = (*SEARCHED, *FIRST, whole(7, 0.9375, repeats=0), *SECOND[1:])
    assert data(shaky).winner.verdict == (
        "+9.38 points over the baseline in the mean of the repeats (95 %: -23.56 to +42.31), which is within noise:"
        " retraining may reverse it."
    )
    assert data((*SEARCHED, *FIRST)).winner.verdict == (
        "+18.75 points over the baseline in the mean of the repeats; too few repeats to estimate the noise"
        " of retraining."
    )
    assert data((*SEARCHED, *FIRST[1:])).winner.verdict.startswith("The baseline was not repeated")


def test_a_winner_with_worse_repeats_than_the_baseline_is_reported():
    records = (whole(0, 0.5), whole(1, 1.0), *(whole(n, 0.75, repeats=0) for n in (2, 4)),
               *(whole(n, 0.5625, repeats=1) for n in (3, 5)))  # fmt: skip
    assert data(records).winner.verdict == (
        "-18.75 points over the baseline in the mean of the repeats (95 %: -18.75 to -18.75), more than the noise of"
        " retraining: the repeats favour the baseline."
    )


def test_a_repeat_that_diverged_or_was_lost_is_shown_and_tells_no_noise():
    diverged = replace(SECOND[1], state=TrialState.FAIL, infeasible=True)
    lost = replace(SECOND[0], state=TrialState.FAIL)
    report = data((*SEARCHED, *FIRST, lost, diverged, SECOND[2]))
    assert [(row.number, row.repeats) for row in report.finals.rows] == [
        (2, (0.875, 0.9375)),
        (0, (0.6875, None)),
        (1, (0.625, 0.0)),
    ]
    assert report.winner.verdict.endswith("too few repeats to estimate the noise of retraining.")
    assert "0.6875, – 0.6875" in text(report)


@pytest.mark.parametrize(
    ("records", "exhausted", "progress"),
    [
        (ALL[:1], False, "0 of 2 repeats trained so far."),
        ((*SEARCHED, *FIRST, replace(SECOND[0], state=TrialState.RUNNING)), False, "3 of 6 repeats trained so far."),
        (SEARCHED, True, "0 of 6 repeats trained: the budget is used up, so no more will start."),
        ((*SEARCHED, *FIRST), True, "3 of 6 repeats trained: the budget is used up, so no more will start."),
        (SEARCHED[3:], True, "The finals start after the search: no trial has finished all its stages yet."),
        (ALL, True, None),
    ],
)
def test_how_far_the_finals_came(records, exhausted: bool, progress: str | None):
    report = data(records, finals_exhausted=exhausted)
    said = report.finals.progress
    assert said is None if progress is None else said.startswith(progress)
    assert (said or "") in text(report)


tables = st.integers(2, 5).flatmap(
    lambda columns: st.lists(
        st.lists(st.integers(0, 64).map(lambda hits: hits / 64), min_size=columns, max_size=columns),
        min_size=2, max_size=5,
    )
)  # fmt: skip


@given(tables)
@settings(max_examples=100, deadline=None)
def test_the_gain_of_two_rows_is_the_paired_t_test(table):
    pair = table[:2]
    gain, interval = repeated_gain(pair, 0, 1)
    if len({one - other for one, other in zip(*pair, strict=True)}) == 1:
        assert interval == pytest.approx((gain, gain))
        return
    expected = ttest_rel(*pair).confidence_interval(0.95)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(tables, st.floats(-0.5, 0.5))
@settings(max_examples=100, deadline=None)
def test_what_a_repetition_does_to_all_is_no_noise(table, shift: float):
    gain, interval = repeated_gain(table, 0, 1)
    assert gain == pytest.approx(np.mean(table[0]) - np.mean(table[1]))
    assert interval[0] <= gain <= interval[1]
    shifted = [[row[0] + shift, *row[1:]] for row in table]
    assert repeated_gain(shifted, 0, 1)[1] == pytest.approx(interval, abs=1e-9)
    assert repeated_gain(table, 1, 0)[1] == pytest.approx((-interval[1], -interval[0]))


def test_a_single_repetition_tells_no_noise():
    assert repeated_gain([[0.5], [0.25], [0.75]], 0, 1) == (0.25, None)


def test_the_block_design_agrees_with_a_worked_example():
    """Three rows in two blocks, by hand."""
    table = [[0.90, 0.94], [0.80, 0.78], [0.70, 0.70]]
    # Row differences 0.04, -0.02, 0.00, mean 0.02 / 3; the rest is half of the sum of their squared deviations.
    rest = ((0.04 - 0.02 / 3) ** 2 + (-0.02 - 0.02 / 3) ** 2 + (0.02 / 3) ** 2) / 2
    half = 4.302653 * np.sqrt(2 * (rest / 2) / 2)  # Student's t, 2 degrees of freedom, 97.5 %
    gain, interval = repeated_gain(table, 0, 1)
    assert gain == pytest.approx(0.13)
    assert interval == pytest.approx((0.13 - half, 0.13 + half), abs=1e-7)
