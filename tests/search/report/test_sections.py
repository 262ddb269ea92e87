"""The page's sections as values: costs, course, importances, advice, mistakes, files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from carcls.events import PhaseSeconds
from carcls.splits.split_files import read_split, write_split
from search.experiment.domains import Choice, Integer, LogUniform, Uniform
from search.experiment.space import Parameter, Space
from search.policy.records import TrialState
from search.report.comparison_page import write_comparison
from search.report.html import render, write_page
from search.report.leaderboard import write_leaderboard, write_mistakes
from search.report.page import write_study_report
from search.report.page_data import report_data
from search.report.sections.advice import advice
from search.report.sections.course import agreements, best_so_far, ladder, spans
from search.report.sections.importance import importances
from search.report.sections.mistakes import mistake_rows, mistakes_view, shown_paths, with_photos
from search.report.sections.parameters import parameter_views
from search.report.sections.trade_offs import cost_points, pareto
from search.study.checked_files import keep_file
from search.study.predictions import Predictions, read_predictions
from search.study.study import Study
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.search.trial_builders import climb, trial

DOMAINS = {
    "train.rate": LogUniform(1e-4, 1e-1),
    "train.dropout": Uniform(0.0, 0.5),
    "train.batch": Integer(8, 64, log=True),
    "train.size": Choice((160, 96)),
}


def space_of(domains=DOMAINS) -> Space:
    leaves = {
        name.removeprefix("train."): Parameter(name, domain, ("train", name.removeprefix("train.")))
        for name, domain in domains.items()
    }
    return Space(leaves)


def scored(number, accuracy, **params):
    values = {"train.rate": 1e-3, "train.dropout": 0.2, "train.batch": 16, "train.size": 96}
    given = {f"train.{name}": value for name, value in params.items()}
    return trial(number, TrialState.COMPLETE, climb([0.1], [0.2], [accuracy]), params=values | given)


def test_a_front_has_the_points_that_nothing_cheaper_reaches():
    points = [(1.0, 0.5, 0), (2.0, 0.4, 1), (3.0, 0.7, 2), (3.0, 0.6, 3), (4.0, 0.7, 4), (0.5, 0.2, 5)]
    assert pareto(points) == [5, 0, 2]
    assert pareto([]) == []


def test_costs_have_a_front_for_each_backbone_and_times_of_the_last_stage_only():
    def of(number, backbone, accuracy, seconds, validate):
        record = trial(
            number, TrialState.COMPLETE, climb([0.1], [0.2], [accuracy]), params={"train.backbone": backbone}
        )
        times = [PhaseSeconds(train=seconds / 3, validate=0.01), PhaseSeconds(seconds / 3, 0.01)]
        last = PhaseSeconds(train=seconds / 3, validate=validate)
        reports = tuple(replace(one, seconds=s) for one, s in zip(record.reports, [*times, last], strict=True))
        return replace(record, reports=reports)

    records = [of(0, "a", 0.8, 30.0, 2.0), of(1, "a", 0.7, 60.0, 1.0), of(2, "b", 0.5, 90.0, 4.0)]
    early = trial(3, TrialState.PRUNED, climb([0.9]), params={"train.backbone": "b"})
    points = cost_points([*records, early], records[0], validation_photos=100)
    assert [(one.number, one.pareto, one.pareto_ms) for one in points] == [
        (0, True, True),
        (1, False, True),
        (2, False, False),
        (3, True, False),
    ]
    assert [one.ms_per_photo for one in points] == [20.0, 10.0, 40.0, None]
    assert points[0].seconds == pytest.approx(32.02)
    assert [one.ms_per_photo for one in cost_points(records, None, None)] == [None] * 3


def test_the_ladder_counts_who_began_ended_and_stopped():
    records = [
        scored(0, 0.9),
        trial(1, TrialState.PRUNED, climb([0.3])),
        trial(2, TrialState.PRUNED, climb([0.4], [0.6])),
        trial(3, TrialState.RUNNING, climb([0.4], [0.5, 0.7])[:2]),
    ]
    assert [(row.name, row.began, row.ended, row.stopped_here, row.best) for row in ladder(records)] == [
        ("head", 4, 4, 1, 0.4),
        ("half", 3, 2, 2, 0.6),
        ("full", 1, 1, 0, 0.9),
    ]


def test_agreement_is_the_share_of_pairs_in_the_same_order():
    reversed_order = [trial(n, TrialState.COMPLETE, climb([0.1 * n], [0.5], [0.9 - 0.1 * n])) for n in range(4)]
    found = {(one.earlier, one.later): one for one in agreements(reversed_order)}
    assert found["head", "full"].agreeing == 0.0
    assert found["head", "full"].trials == 4
    same = [trial(n, TrialState.COMPLETE, climb([0.1 * n], [0.5], [0.1 * n])) for n in range(4)]
    assert {(one.earlier, one.later): one.agreeing for one in agreements(same)}["head", "full"] == 1.0
    assert agreements(same[:3]) == ()


def test_trials_at_the_same_time_get_their_own_lanes_and_pauses_split_a_span():
    first, second = scored(0, 0.9), trial(1, TrialState.PRUNED, climb([0.3]))
    took = first.reports[0].seconds.total
    times = {0: {1: 1000.0 + took, 2: 1000.0 + 2 * took, 3: 1100.0}, 1: {1: 1001.0 + took}}
    found = spans([first, second], times)
    assert [(one.number, one.lane, one.start_s, one.end_s, one.stages) for one in found] == [
        (0, 0, 0.0, 2 * took, "head, half"),
        (1, 1, 1.0, 1.0 + took, "head"),
        (0, 0, pytest.approx(100.0 - took), 100.0, "full"),
    ]
    assert [one.fate for one in found] == ["complete", "stopped", "complete"]
    steps = best_so_far([first, second], times)
    assert [(one.seconds, one.accuracy, one.number) for one in steps] == [
        (took, 0.1, 0),
        (1.0 + took, 0.3, 1),
        (100.0, 0.9, 0),
    ]
    assert spans([first], {}) == ()


def test_the_parameter_that_decides_is_the_most_important():
    rng = np.random.default_rng(0)
    records = []
    for number in range(60):
        params = {"rate": 10 ** rng.uniform(-4, -1), "dropout": rng.uniform(0, 0.5), "size": [96, 160][number % 2]}
        records.append(scored(number, 0.5 - 0.1 * abs(np.log10(params["rate"]) + 2) + 0.001 * rng.random(), **params))
    found = importances(records, space_of())
    assert found.rows[0].name == "train.rate"
    assert found.rows[0].value > 0.5
    assert sum(row.value for row in found.rows) == pytest.approx(1.0)
    assert (found.trials, found.stage_name) == (60, "full")
    assert "train.batch" not in {row.name for row in found.rows}, "it has a single value"
    assert importances(records[:8], space_of()) is None


def test_importances_compare_trials_at_the_last_stage_that_many_ended():
    early = [
        trial(n, TrialState.PRUNED, climb([0.01 * n]), params={"train.rate": 10 ** (-4 + n / 20)}) for n in range(40)
    ]
    few = [
        trial(n, TrialState.COMPLETE, climb([0.5], [0.5], [0.5]), params={"train.rate": 1e-2}) for n in range(40, 45)
    ]
    found = importances([*early, *few], space_of({"train.rate": DOMAINS["train.rate"]}))
    assert (found.stage_name, found.trials) == ("head", 45)


def test_importances_of_many_trials_compare_a_sample_that_is_even_in_rank():
    rng = np.random.default_rng(0)
    records = []
    for number in range(1500):
        params = {"train.rate": 10 ** rng.uniform(-4, -1), "train.dropout": rng.uniform(0, 0.5)}
        accuracy = 0.5 - 0.1 * abs(np.log10(params["train.rate"]) + 2) + 0.02 * rng.random()
        records.append(trial(number, TrialState.PRUNED, climb([accuracy]), params=params))
    space = space_of({name: DOMAINS[name] for name in ("train.rate", "train.dropout")})
    sampled, whole = importances(records, space), importances(records[:1000], space)
    assert (sampled.trials, sampled.of, whole.trials, whole.of) == (1000, 1500, 1000, 1000)
    assert [row.name for row in sampled.rows] == ["train.rate", "train.dropout"]
    assert sampled.rows[0].value == pytest.approx(whole.rows[0].value, abs=0.03)
    assert sampled.rows[0].value > 0.8
    page = render(report_data(name="x", experiment_text="", records=records, validation_photos=10, space=space))
    assert "PED-ANOVA over 1000 of 1\u202f500 trials, evenly spaced by rank, compared" in page


def test_axes_have_the_domains_scale_and_ends():
    records = [scored(n, 0.5, rate=10.0 ** -(1 + n), batch=8 * (n + 1), size=[96, 160][n % 2]) for n in range(3)]
    views = {view.name: view for view in parameter_views(records, None, DOMAINS)}
    assert {name: view.scale for name, view in views.items()} == {
        "train.rate": "log", "train.batch": "log", "train.size": "category",
    }  # fmt: skip
    assert views["train.rate"].domain == (1e-4, 1e-1)
    assert views["train.size"].categories == ("96", "160")
    assert [point.number for point in views["train.rate"].points] == [0, 1, 2]


def test_a_domain_whose_edge_wins_is_named():
    at_edge = [scored(n, 0.9 - 0.01 * n, rate=0.09, dropout=0.1 * n) for n in range(4)]
    inside = [scored(n, 0.3, rate=1e-3) for n in range(4, 8)]
    texts = [one.text for one in advice([*at_edge, *inside], space_of(), None)]
    assert texts == [
        "train.rate: 4 of the best 5 trials lie at the upper end of loguniform [0.0001, 0.1], the best one at 0.09. Try"
        " a wider domain there."
    ]
    assert advice(inside, space_of(), None) == ()


def said(labels, answers, *, sure=0.9):
    probabilities = np.full((len(labels), 3), (1 - sure) / 2)
    probabilities[np.arange(len(labels)), answers] = sure
    return Predictions(
        of="trial 0001", root=None, paths=tuple(f"{n}.jpg" for n in range(len(labels))), labels=np.array(labels),
        class_names=("=A", "B", "C"), probabilities=probabilities,
    )  # fmt: skip


LABELS = [0] * 10 + [1] * 10 + [2] * 10
ANSWERS = [0] * 6 + [1] * 4 + [1] * 10 + [2] * 9 + [0]


def test_mistakes_have_pairs_classes_and_a_matrix():
    view = mistakes_view(said(LABELS, ANSWERS))
    assert (view.photos, view.wrong) == (30, 5)
    assert [(one.true, one.predicted, one.count) for one in view.pairs] == [("=A", "B", 4), ("C", "=A", 1)]
    assert [photo.path for photo in view.pairs[0].wrong] == ["6.jpg", "7.jpg", "8.jpg", "9.jpg"]
    assert [photo.path for photo in view.pairs[0].of_predicted] == ["10.jpg", "11.jpg", "12.jpg", "13.jpg"]
    assert view.matrix.counts == ((6, 4, 0), (0, 10, 0), (1, 0, 9))
    assert [(row.name, row.taken_for) for row in view.classes] == [("=A", "B (4)"), ("C", "=A (1)"), ("B", "")]
    assert view.pairs[0].wrong[0].confidence == 0.9
    shown = with_photos(view, {"6.jpg": "data:x"})
    assert shown.pairs[0].wrong[0].url == "data:x"
    assert shown.pairs[0].wrong[1].url is None
    assert not with_photos(view, {}).photos_found
    assert len(set(shown_paths(view))) == len(shown_paths(view))


def test_classes_that_are_mixed_up_and_doubtful_labels_are_advised_on():
    texts = [one.text for one in advice([], None, mistakes_view(said(LABELS, ANSWERS)))]
    assert texts[0].startswith("=A is taken for B in 4 of 10 photos.")
    assert texts[1].startswith("5 photos look mislabelled")
    assert len(texts) == 2


def test_files_beside_the_page_hold_every_trial_and_every_mistake(tmp_path):
    records = [scored(0, 0.5), replace(scored(1, 0.75), params={"train.only": "=1+1"})]
    data = report_data(name="x", experiment_text="", records=records, validation_photos=10)
    write_leaderboard(tmp_path, data.leaderboard)
    write_mistakes(tmp_path / "mistakes.csv", mistake_rows(said(LABELS, ANSWERS)))
    with (tmp_path / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["accuracy"], row["train.only"], row["train.rate"]) for row in rows] == [
        ("1", "0.75", "'=1+1", ""),
        ("0", "0.5", "", "0.001"),
    ]
    entries = json.loads((tmp_path / "leaderboard.json").read_text())
    assert [(one["trial"], one["role"], one["params"].get("train.rate")) for one in entries] == [
        (1, "winner", None),
        (0, "baseline", 1e-3),
    ]
    lines = (tmp_path / "mistakes.csv").read_text().splitlines()
    assert lines[0] == "path,label,predicted,probability,probability_of_label,label_is_doubtful"
    assert lines[1] == "6.jpg,'=A,B,0.9,0.05,True"
    assert len(lines) == 6


def test_a_study_on_disk_becomes_a_page_with_its_photos(tmp_path):
    folder, experiment = made_up_study(tmp_path, trials=8, per_class=10)
    write_study_report(folder, experiment)
    study = Study.open(folder.root, read_only=True)
    winner = max((one for one in study.records() if one.state is TrialState.COMPLETE), key=lambda one: one.best_rank)
    found = read_predictions(folder, study, winner, experiment.data.root)
    assert found.of == f"trial {winner.number:04d}"
    assert (found.probabilities.argmax(axis=1) == found.labels).mean() == pytest.approx(winner.best.val_accuracy)
    page = folder.report.read_text()
    assert page.count("data:image/jpeg;base64,") >= 20
    assert f"carsearch retrain {folder.root}" in page
    assert "--set search.trials=16" in page
    folder.probabilities(winner.number, winner.best.epoch).write_bytes(b"damaged")
    assert read_predictions(folder, study, winner, experiment.data.root) is None
    write_study_report(folder, experiment)
    assert "What it gets wrong" not in folder.report.read_text()


def test_names_that_are_not_utf8_are_no_hindrance_to_the_report(tmp_path):
    folder, experiment = made_up_study(tmp_path, trials=4, per_class=10)
    root = experiment.data.root
    split = read_split(folder.split, root)
    renamed = tuple(path.replace(".jpg", "\udcff.jpg") for path in split.validation.paths)
    for old, new in zip(split.validation.paths, renamed, strict=True):
        (root / old).rename(root / new)
    write_split(replace(split, validation=replace(split.validation, paths=renamed)), folder.split)
    with Study.open(folder.root) as study:
        keep_file(study, folder.split)
    write_study_report(folder, experiment)
    page = folder.report.read_bytes().decode("utf-8")
    assert page.count("data:image/jpeg;base64,") >= 10
    assert b"?.jpg," in (folder.root / "mistakes.csv").read_bytes()


def test_a_page_is_utf8_whatever_its_texts_hold(tmp_path):
    write_page(tmp_path / "a.html", "<p>\udcff \ud800 \u00e9</p>")
    assert (tmp_path / "a.html").read_bytes().decode("utf-8") == "<p>? ? \u00e9</p>"


def test_studies_are_compared_by_what_to_expect_of_them(tmp_path):
    opened = [made_up_study(tmp_path / name, trials=trials, per_class=8) for name, trials in (("a", 7), ("b", 4))]
    write_study_report(*opened[1])
    page = tmp_path / "both.html"
    write_comparison(opened, page)
    text = page.read_text()
    assert text.count(f"{tmp_path}/a/results/made_up") >= 1, "equal names are told apart by their folders"
    assert 'href="b/results/made_up/report.html"' in text
    assert "a/results/made_up/report.html" not in text, "there is no such page"
    assert "validated on different photos" not in text
    charts = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert len(charts["trials"]) == 11
    numbers = [item["t"] for group in charts["charts"]["cost"]["groups"] for item in group["items"]]
    assert {number.partition("/")[0] for number in numbers} == {"0", "1"}
    for folder, _ in opened:
        ended = [one for one in Study.open(folder.root, read_only=True).records() if one.state is TrialState.COMPLETE]
        assert f"{max(ended, key=lambda one: one.best_rank).best.val_accuracy:.4f}" in text
