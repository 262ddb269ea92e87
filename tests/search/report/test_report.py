"""The page's content, and that users' text cannot inject any."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from search.policy.records import TrialState
from search.report import write_report
from search.report.chart_data import page_charts
from search.report.html import render
from search.report.page_limits import page_view
from search.report.sections.confidence import wilson
from tests.helpers.search.report_page import BASELINE, BEST, EFFICIENCY, EVIL, LOST, PRUNED, SCORES, Page, data
from tests.helpers.search.trial_builders import climb, trial


def test_the_winner_had_all_stages():
    winner = data().winner
    assert (winner.number, winner.provisional) == (1, False)
    assert (winner.score.accuracy, winner.score.epoch, winner.score.stage_name) == (0.8125, 4, "full")
    assert winner.baseline.accuracy == 0.75
    assert [(row.name, row.value, row.baseline) for row in winner.parameters] == [
        ("train.rate", 0.25, 0.5),
        ("train.b", 1, None),
    ]


def test_before_any_trial_is_complete_the_best_so_far_is_shown_as_that():
    unfinished = data([replace(BASELINE, state=TrialState.RUNNING), PRUNED])
    assert (unfinished.winner.number, unfinished.winner.provisional) == (2, True)
    assert "best so far" in render(unfinished)


def test_the_winners_holdout_score_is_shown_if_there_is_a_holdout():
    def scored(record, accuracies):
        reports = zip(record.reports, accuracies, strict=True)
        return replace(record, reports=tuple(replace(one, holdout_accuracy=value) for one, value in reports))

    report = data([scored(BASELINE, [0.9, 0.8, 0.6875]), scored(BEST, [1.0, 0.9, 0.8, 0.7656])])
    winner = report.winner
    assert (winner.number, winner.score.holdout_accuracy, winner.baseline.holdout_accuracy) == (1, 0.7656, 0.6875)

    def text(shown):
        return re.sub(r"\s+", " ", " ".join(Page(render(shown)).texts))

    page = text(report)
    assert "Winner, holdout 0.7656 on photos held back from training and from every choice; baseline 0.6875" in page
    counted = data([scored(BASELINE, [0.9, 0.8, 0.6875]), scored(BEST, [1.0, 0.9, 0.8, 0.7656])], holdout_photos=128)
    assert counted.winner.score.holdout_interval == wilson(0.7656, 128)
    assert "Winner, holdout 0.7656 95 %: 0.6851 – 0.8306, on photos held back" in text(counted)
    assert data().winner.score.holdout_accuracy is None
    assert "holdout" not in render(data())


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (100, ", which is within noise: the 95 % intervals overlap."),
        (10_000, ", which is more than noise: the 95 % intervals do not overlap."),
        (None, "; the number of photos is unknown, and so is its noise."),
    ],
)
def test_the_verdict_counts_the_noise(photos, expected):
    assert data(validation_photos=photos).winner.verdict == f"+6.25 points over the baseline{expected}"


def test_the_verdict_where_the_baseline_wins_or_has_no_score():
    assert data([BASELINE, PRUNED]).winner.verdict == "No trial was better than the default recipe, the baseline."
    assert "nothing to compare" in data([replace(BASELINE, reports=()), BEST]).winner.verdict


def test_the_leaderboard_is_ordered_and_keeps_failures_last():
    rows = data().leaderboard
    assert [(row.number, row.state, row.stages_ended, row.epochs) for row in rows] == [
        (2, "pruned", 1, 1),
        (1, "complete", 3, 4),
        (0, "complete", 3, 3),
        (3, "infeasible", 1, 1),
    ]
    assert [row.role for row in rows] == ["other", "winner", "baseline", "other"]
    assert rows[1].seconds == 4 * (3.0 + 0.5 + 0.25)


def test_stages_of_the_winner_and_pooled():
    report = data()
    assert [(s.names, s.epochs, s.accuracy, s.gained, s.seconds) for s in report.winner_stages] == [
        ("head", 2, 0.5, None, 7.5),
        ("half", 1, 0.375, -0.125, 3.75),
        ("full", 1, 0.8125, 0.3125, 3.75),
    ]
    pooled = report.pooled_stages
    assert [(s.trials, s.epochs, s.accuracy, s.gained) for s in pooled] == [
        (4, 5, (0.5 + 0.875) / 2, None),
        (2, 2, 0.5, 0.0),
        (2, 2, 0.78125, 0.21875),
    ]
    assert (pooled[2].trainable_parameters, pooled[2].image_sizes) == ((3000, 3000), (160,))


def test_curves_mark_roles_failures_and_stage_ends():
    curves = data().curves
    assert [(c.number, c.role, c.fate) for c in curves] == [
        (0, "baseline", "complete"),
        (1, "winner", "complete"),
        (2, "other", "stopped"),
        (3, "other", "failed"),
    ]
    assert curves[1].points == ((1, 0.25), (2, 0.5), (3, 0.375), (4, 0.8125))
    assert curves[1].borders == ((2, "head"), (3, "half"), (4, "full"))


def test_parameters_get_the_axis_that_fits_them():
    values = [
        {"same": 1, "log": 1e-5 * 10**n, "even": 0.01 + n / 10, "flag": n % 2 == 0, "mixed": [None, "b", 2, 1.5][n]}
        for n in range(4)
    ]
    records = [replace(PRUNED, number=number, params=params) for number, params in enumerate(values)]
    views = {view.name: view for view in data(records).parameters}
    assert {name: view.scale for name, view in views.items()} == {
        "log": "log", "even": "linear", "flag": "category", "mixed": "category",
    }  # fmt: skip
    assert views["mixed"].categories == ("1.5", "2", "None", "b")
    assert [point.x for point in views["mixed"].points] == [2, 3, 1, 0]
    assert not any(point.complete for point in views["log"].points)


def test_the_page_says_that_selection_biases_the_score():
    assert "selected the winner, so it is biased upwards" in render(data())


def test_hostile_names_stay_text(tmp_path):
    records = [
        replace(BEST, params={EVIL: EVIL, "n": 1.0}),
        replace(PRUNED, params={EVIL: EVIL + "2", "n": 2.0}),
        replace(LOST, cause=EVIL),
    ]
    costs = EFFICIENCY | {"stages": [EFFICIENCY["stages"][0] | {"name": EVIL}]}
    hostile = {"tta_views": [EVIL], "best_stage": EVIL, "device": EVIL, "tta_note": EVIL, "efficiency": costs}
    report = data(
        records, name=EVIL, experiment_text=EVIL, quarantined=[(EVIL, EVIL)], submission=EVIL, device=EVIL,
        retrain=SCORES | hostile,
    )  # fmt: skip
    write_report(tmp_path / "report.html", report)
    html = (tmp_path / "report.html").read_text("utf-8")
    page = Page(html)
    assert page.tags.count("script") == 3, "the library, the page's own script and its data"
    assert html.count("<script") == 3
    assert html.count("</script") == 3
    assert not set(html) & set("\x00\u202e")
    assert sum("<script>alert('&')</script>" in text for text in page.texts) >= 12
    charts = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert EVIL[:24] in json.dumps(charts), "chart data keep the text, as text"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_page_needs_nothing_from_outside():
    html = render(data(retrain=SCORES))
    page = Page(html)
    fetching = {"link", "iframe", "object", "embed", "image", "base", "form"}
    assert not fetching & set(page.tags)
    links = [value for _, name, value in page.attributes if name in {"src", "href", "xlink:href"}]
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in links)
    assert not re.search(r"https?://|url\(", html)


def test_the_policy_allows_our_scripts_by_their_hash_and_nothing_else():
    html = render(data())
    policy = next(value for tag, _, value in Page(html).attributes if tag == "meta" and "default-src" in str(value))
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
    assert not [name for _, name, _ in Page(html).attributes if name.startswith("on")], "no handlers in attributes"


def test_many_trials_make_a_page_of_reasonable_size():
    many = [replace(PRUNED, number=n, params={"train.rate": n / 300, "b": str(n % 3)}) for n in range(300)]
    html = render(data([BASELINE, BEST, *(replace(record, number=record.number + 2) for record in many)]))
    assert len(html) < 1_000_000
    assert html.count("<tr class=") == 302
    assert 'data-rows="20"' in html, "the page's script shows the first 20 until asked"


def test_an_empty_study_has_a_page():
    assert "No epoch has finished yet." in render(data([]))
    assert page_charts(page_view(data([]))) == {"trials": {}, "charts": {}}


def test_a_page_is_the_same_every_time():
    assert render(data(retrain=SCORES)) == render(data(retrain=SCORES))


def test_trials_that_ran_in_parts_say_so_and_what_that_is_worth():
    cut = [replace(report, micro_batch=8 if report.stage == 1 else None) for report in climb([0.25], [0.5, 0.6], [0.7])]
    cut[1] = replace(cut[1], notes=(f"in parts of 8 {EVIL}",))
    cut[2] = replace(cut[2], micro_batch=4)
    shown = data([BASELINE, trial(1, TrialState.COMPLETE, tuple(cut))])
    assert [(row.number, row.stage_name, row.image_size, row.micro_batch, row.epochs) for row in shown.parts] == [
        (1, "half", 128, 8, 1),
        (1, "half", 128, 4, 1),
    ]
    page = Page(render(shown))
    text = " ".join(page.texts)
    assert "Batches split to fit in memory" in text
    assert "equals one with whole batches only in expectation" in text
    assert page.tags.count("script") == 3
    assert "want of memory" not in render(data()), "nothing of it where every batch went whole"
