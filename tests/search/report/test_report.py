"""The page's content, and that users' text cannot inject any."""

import base64
import hashlib
import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.events import PhaseSeconds, StoreUse
from search.policy.records import TrialState
from search.report import report_data, write_report
from search.report.chart_data import page_charts
from search.report.confidence import overlap, wilson
from search.report.html import render
from search.report.page_limits import page_view
from tests.helpers.search.trial_builders import climb, trial

EVIL = "<script>alert('&')</script>\x00$\\frac{1}$\u202e\udcff"
SCORES = json.loads("""{
  "best_epoch": 3, "best_stage": "full", "image_size": 160, "validation_photos": 100, "plain_accuracy": 0.95,
  "plain_log_loss": 0.1712, "plain_correct": 95, "tta_accuracy": 0.96, "tta_log_loss": 0.1533,
  "tta_interval": [0.004, 0.031], "tta_views": ["plain", "flip"], "seconds": 1234.0, "device": "CPU", "trial": 1
}""")

EFFICIENCY = {
    "parameters": 20_881_970, "model_bytes": 83_900_000, "peak_memory_bytes": 2_140_000_000, "batch_size": 16,
    "plain_s_per_photo": 0.0124, "views_s_per_photo": 0.0256,
    "stages": [{"name": "head", "image_size_px": 448, "epochs": 5, "trainable_parameters": 20_490, "seconds": 7384.0,
                "images_per_s": 118.6}],
}  # fmt: skip

BASELINE = trial(0, TrialState.COMPLETE, climb([0.5], [0.625], [0.75]), params={"train.rate": 0.5})
BEST = trial(1, TrialState.COMPLETE, climb([0.25, 0.5], [0.375], [0.8125]), params={"train.rate": 0.25, "train.b": 1})
PRUNED = trial(2, TrialState.PRUNED, climb([0.875]), params={"train.rate": 0.125})
LOST = trial(3, TrialState.FAIL, climb([0.9])[:1], cause="loss is NaN", infeasible=True)
RECORDS = (BASELINE, BEST, PRUNED, LOST)


def data(records=RECORDS, **changes):
    values = {"name": "cars", "experiment_text": "name: cars", "validation_photos": 100} | changes
    return report_data(records=records, **values)


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would parse them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.texts.append(data)


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


SPENT = PhaseSeconds(train=30.0, validate=6.0, build=1.0, trace=2.0, store=0.5, data_wait=0.5)
"""40 s in total."""


def spending(record, *uses):
    """The trial with epochs of 40 s each and this use of the store."""
    reports = [replace(report, seconds=SPENT, store=use) for report, use in zip(record.reports, uses, strict=True)]
    return replace(record, reports=tuple(reports))


def test_where_the_time_went():
    took, nothing = StoreUse(built=5, reused=1, built_s=9.5, saved_s=20.0), StoreUse()
    records = [BASELINE, spending(BEST, took, StoreUse(reused=209, saved_s=3700.0), nothing, nothing)]
    final = [replace(report, seconds=PhaseSeconds(train=9.0, validate=0.0, store=1.0)) for report in climb([0.5, 0.5])]
    time = data(records, retrain_reports=final).time
    assert (time.columns, time.totals_s) == (("All trials", "Winner", "Final training"), (171.25, 160.0, 20.0))
    table = {phase.name: [(cell.seconds, round(cell.share, 4)) for cell in phase.cells] for phase in time.phases}
    assert table == {
        "Training steps": [(129.0, 0.7533), (120.0, 0.75), (18.0, 0.9)],
        "Validation": [(25.5, 0.1489), (24.0, 0.15), (0.0, 0.0)],
        "Tracing": [(8.0, 0.0467), (8.0, 0.05), (0.0, 0.0)],
        "Building models": [(4.75, 0.0277), (4.0, 0.025), (0.0, 0.0)],
        "Store": [(2.0, 0.0117), (2.0, 0.0125), (2.0, 0.1)],
        "Waiting for batches": [(2.0, 0.0117), (2.0, 0.0125), (0.0, 0.0)],
    }
    assert time.store_lines == (
        "Store, all trials: 5 artefacts built in 9.5 s; finished ones reused 210 times, which saved about 1 h 02 min of"
        " computing.",
    )


def test_where_the_time_went_is_on_the_page():
    use = StoreUse(built=1, built_s=12.0)
    page = "\n".join(Page(render(data([spending(PRUNED, use)], retrain_reports=climb([0.5])))).texts)
    for text in (
        "Phase\nAll trials\nWinner\nFinal training\n",
        "Training steps\n30 s\n75.0 %\n30 s\n75.0 %\n3.0 s\n80.0 %\n",
        "Waiting for batches\n0.5 s\n1.2 %\n0.5 s\n1.2 %\n0.0 s\n0.0 %\n",
        "Total\n40 s\n40 s\n3.8 s\n",
        "Store, all trials: 1 artefact built in 12 s.",
        "Saved: the time it took to build the reused artefacts",
    ):
        assert re.sub(r"\s+", " ", text) in re.sub(r"\s+", " ", page)


def test_phases_that_no_epoch_had_and_a_store_that_was_not_used_are_not_shown():
    time = data().time
    assert [phase.name for phase in time.phases] == ["Training steps", "Validation", "Building models"]
    assert time.store_lines == ()
    page = render(data())
    assert "Waiting for batches" not in page
    assert "Saved:" not in page
    assert "Where the time went" not in render(data([replace(PRUNED, reports=())]))


def test_every_phase_is_on_the_page():
    """The table's sum would lack a forgotten phase."""
    spent = replace(SPENT, holdout=4.0)
    record = replace(PRUNED, reports=tuple(replace(report, seconds=spent) for report in PRUNED.reports))
    time = data([record]).time
    assert all(getattr(spent, phase.name) for phase in fields(spent)), "a phase without a time would be left out"
    assert sum(phase.cells[0].seconds for phase in time.phases) == spent.total == time.totals_s[0] == 44.0


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


def test_the_final_training_is_on_the_page():
    page = "\n".join(Page(render(data(retrain=SCORES, submission="results/cars/submission.csv"))).texts)
    for text in (
        "0.9500",
        "0.8882 – 0.9785",
        "0.9600",
        "plain, flip",
        "0.0040 – 0.0310",
        "results/cars/submission.csv",
    ):
        assert text in page
    assert "Repeats trial 0001" in page
    assert "Efficiency" not in page, "scores of an older carsearch do not tell it"


def test_what_the_final_training_took_is_on_the_page():
    page = "\n".join(Page(render(data(retrain=SCORES | {"efficiency": EFFICIENCY}))).texts)
    for text in (
        "20\u202f881\u202f970 parameters, model file 83.9 MB, peak main memory 2.1 GB.",
        "Prediction: 12.4 ms a photo plain, 25.6 ms with 2 views, in batches of 16.",
        "head\n448\n5\n20\u202f490\n2 h 03 min\n119",
    ):
        assert text in page


def test_a_fixed_recipe_has_no_winner_and_no_leaderboard():
    page = "\n".join(Page(render(data([], retrain=SCORES | {"trial": None, "tta_note": "too few"}))).texts)
    assert "A fixed recipe" in page
    assert "Views in use: plain, flip (too few)." in page
    assert "Winner" not in page
    assert "Leaderboard" not in page
    assert "chose the best epoch and the views" in page


def test_the_evidence_for_views_stands_beside_them():
    evidence = {
        "views": ["plain", "flip"], "measured": 0.03, "measured_error": None, "prior": 0.01, "prior_sd": 0.02,
        "models": 4, "data_sets": 1, "posterior": 0.01, "posterior_sd": 0.02,
    }  # fmt: skip
    page = "\n".join(Page(render(data([], retrain=SCORES | {"tta_evidence": evidence}))).texts)
    assert "Views in use: plain, flip. plain, flip: save +0.0300 nats a photo here, +0.0100 ± 0.0200 by 4" in page
    assert "recorded models of 1 data set, +0.0100" in page


def test_a_score_that_is_missing_is_named():
    with pytest.raises(KeyError, match="tta_views"):
        data(retrain={name: value for name, value in SCORES.items() if name != "tta_views"})


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


def test_wilson_agrees_with_published_values():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@settings(max_examples=100)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_wilson_holds_the_share_and_narrows_with_more_photos(drawn):
    count, hits = drawn
    low, high = wilson(hits / count, count)
    assert 0.0 <= low <= hits / count <= high <= 1.0
    widths = [high - low for low, high in (wilson(hits / count, count * times) for times in (1, 4, 16))]
    assert all(wide > narrow for wide, narrow in pairwise(widths))


def test_intervals_that_touch_overlap():
    assert overlap((0.1, 0.2), (0.2, 0.3))
    assert not overlap((0.3, 0.4), (0.1, 0.2))


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
