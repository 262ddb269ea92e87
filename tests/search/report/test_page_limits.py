"""The page of a large study shows some trials, says which, and sums up all."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from search.policy.records import TrialState
from search.report import report_data
from search.report.chart_data import page_charts
from search.report.comparison import Compared, Comparison, comparison_charts
from search.report.html import render
from search.report.page_limits import BEST, LATEST, MOST_TRIALS, page_view, shown_trials
from tests.helpers.search.trial_builders import climb, trial

COUNT = 1200


def made(number):
    """Trial `number`: the accuracy falls with it; every 100th is complete, every 150th failed."""
    accuracy = 0.9 - number / 2000
    params = {"train.rate": 10 ** (-1 - 3 * (number % 97) / 97), "train.backbone": f"net{number % 2}"}
    if number % 150 == 7:
        return trial(number, TrialState.FAIL, climb([0.1])[:0], params=params, cause=f"kind {number % 4}: {number}")
    if number % 100 == 0:
        return trial(number, TrialState.COMPLETE, climb([0.1], [0.2], [accuracy]), params=params)
    return trial(number, TrialState.PRUNED, climb([accuracy]), params=params)


@pytest.fixture(scope="module")
def large():
    records = [made(number) for number in range(COUNT)]
    times = {one.number: {r.epoch: 10.0 * (one.number + r.epoch) for r in one.reports} for one in records}
    return report_data(name="large", experiment_text="", records=records, validation_photos=100, epoch_times=times)


def test_a_study_of_five_hundred_trials_is_shown_whole(large):
    data = replace(large, leaderboard=large.leaderboard[:MOST_TRIALS])
    view = page_view(data)
    assert view.data is data
    assert not view.is_limited
    assert (view.other_costs, view.other_points) == ({}, {})


def test_the_best_the_latest_every_fate_and_others_are_shown(large):
    view = page_view(large)
    shown = {row.number for row in view.data.leaderboard}
    assert (len(shown), view.trials, view.is_limited) == (MOST_TRIALS, COUNT, True)
    assert {row.number for row in large.leaderboard[:BEST]} <= shown
    assert set(range(COUNT - LATEST, COUNT)) <= shown
    assert {0, large.winner.number} <= shown
    failed = {row.number for row in large.leaderboard if row.state == "failed"}
    assert len(failed) == 8
    assert failed <= shown
    middle = sorted(shown & set(range(400, 1000)))
    assert 100 < len(middle) < 200
    assert max(after - before for before, after in pairwise(middle)) <= 10, "evenly spread"
    assert [row.number for row in view.data.leaderboard] == [
        row.number for row in large.leaderboard if row.number in shown
    ]


def test_the_same_trials_are_chosen_each_time_and_whatever_is_asked_for_is_among_them(large):
    always = (333, 334, 335)
    first = shown_trials(large.leaderboard, always)
    assert first == shown_trials(large.leaderboard, always)
    assert first.issuperset(always)
    assert len(first) == MOST_TRIALS
    assert len(shown_trials(large.leaderboard, range(700))) == 700, "more than the limit only if asked for"
    assert shown_trials(large.leaderboard, (10**6,)) <= {row.number for row in large.leaderboard}


def test_charts_have_the_shown_trials_and_small_points_for_the_others(large):
    view = page_view(large)
    shown = {row.number for row in view.data.leaderboard}
    page = page_charts(view)
    charts = page["charts"]
    assert set(page["trials"]) == {str(number) for number in shown}
    for name, chart in charts.items():
        told = {item["t"] for group in chart["groups"] for item in group["items"] if "t" in item}
        if name == "timeline":
            assert len(told) == COUNT - 8, "few enough to have a bar each"
        else:
            assert told <= shown, name
    for name in ("cost", "slice0"):
        clouds = [group for group in charts[name]["groups"] if group["kind"] == "cloud"]
        points = [tuple(point) for group in clouds for item in group["items"] for point in item["p"]]
        assert len(points) > 80, name
        low, high = charts[name]["x"]["range"]
        assert all(low <= x <= high for x, _ in points)
    assert charts["curves"]["label"] == "Validation accuracy of 500 of 1\u202f200 trials by epoch"
    front = {point.number for point in large.costs if point.pareto}
    assert front <= shown
    assert len(json.dumps(page)) < 700_000


def test_the_page_tells_what_it_leaves_out_and_counts_all(large):
    html = render(large)
    assert html.count("<tr class=") == MOST_TRIALS
    assert "Listed here are 500 of 1\u202f200 trials: the best 200, the latest 100" in html
    assert "leaderboard.csv and leaderboard.json have all" in html
    assert html.count("500 of 1\u202f200 trials, as in the leaderboard") >= 3
    row = large.ladder[0]
    assert (row.began, f'<td class="n">{row.began}</td>' in html) == (COUNT - 8, True)
    assert len(html) < 2_000_000
    small = render(replace(large, leaderboard=large.leaderboard[:20]))
    assert "as in the leaderboard" not in small
    assert "The same table is in leaderboard.csv" in small


def test_many_failures_are_the_first_of_each_kind_and_the_latest():
    def failed(number):
        kind = "disk full" if number == 3 else "loss is NaN" if number % 2 else "out of memory"
        return trial(number, TrialState.FAIL, cause=f"{kind}: trial {number}")

    records = [trial(0, TrialState.COMPLETE, climb([0.5], [0.5], [0.5])), *(failed(n) for n in range(1, 700))]
    data = report_data(name="x", experiment_text="", records=records, validation_photos=None)
    view = page_view(data)
    numbers = [failure.number for failure in view.data.failures]
    assert len(numbers) == 100
    assert numbers[:3] == [1, 2, 3]
    assert numbers[3:] == list(range(603, 700))
    assert (view.failures, len(data.failures)) == (699, 699)
    assert "These are 100 of 699 failures: the first of each kind, and the latest." in render(data)


def test_a_comparison_is_limited_too(large):
    found = Comparison((Compared("large", large, "", ""), Compared("again", large, "", "")), same_photos=True)
    page = comparison_charts(found)
    assert len(page["trials"]) == 2 * MOST_TRIALS
    groups = [group for chart in page["charts"].values() for group in chart["groups"]]
    told = {item["t"] for group in groups for item in group["items"] if "t" in item}
    assert told <= set(page["trials"])
    assert {group["kind"] for group in page["charts"]["cost"]["groups"]} == {"cloud", "dots"}
