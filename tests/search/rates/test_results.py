"""What a range test tells, from results made by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from carcls.training.rate_test import StageRates
from search.experiment.domains import LogUniform
from search.experiment.experiment import load
from search.rates.results import RULE, as_json, for_file, hints, overrides, page, table
from tests.helpers.browser import WIDTHS_PX, Visit, chromium
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
HEAD = StageRates("head", RATES, (2.0, 1.5, 1.0, 1.2, float("nan")), True, 1e-4, 3e-3, 32, 8)
PLAN = """\
  plan:
    choice:
      long:
        stages:
"""
"""An option that brings its own stages, in place of the key `stages`."""
FLAT = StageRates("top<b>", RATES[:2], (2.0, 2.0), False, None, 1e-3, "48x64", 4)


def test_the_table_has_a_row_for_each_stage() -> None:
    lines = table([HEAD, FLAT])
    heads = ["stage", "steps", "lowest loss", "at rate", "diverged at", "suggestion", "in the file"]
    assert re.split(r"  +", lines[0]) == heads
    assert re.split(r"  +", lines[1]) == ["head", "5", "1.350", "1.0e-02", "1.0e-01", "1.0e-04", "3.0e-03"]
    assert "none: no clear fall" in lines[2]


def test_suggestions_are_written_as_the_file_takes_them() -> None:
    assert overrides([HEAD, FLAT]) == "stages: {head: {learning_rate: 1.0e-04}}"
    assert overrides([FLAT]) == ""


def test_suggestions_say_where_they_go() -> None:
    top = StageRates("top", RATES[:3], (2.0, 1.5, 1.0), False, 2e-3, 3e-3, 32, 8)
    rate, low = LogUniform(1e-5, 1e-2), LogUniform(1e-5, 1e-3)
    head, searched = "train.stages.head.learning_rate", "train.stages.top.learning_rate"
    assert for_file([HEAD, FLAT, top], {}) == [
        "for train, stage head: learning_rate: 1.0e-04",
        "for train, stage top: learning_rate: 2.0e-03",
    ]
    assert for_file([HEAD, top], {head: rate, searched: rate}) == [
        "for search.baseline: stages: {head: {learning_rate: 1.0e-04}, top: {learning_rate: 2.0e-03}}"
    ]
    assert for_file([HEAD, top], {head: rate}) == [
        "for search.baseline: stages: {head: {learning_rate: 1.0e-04}}",
        "for train, stage top: learning_rate: 2.0e-03",
    ]
    assert for_file([HEAD, top], {head: rate, searched: low})[1] == (
        "stage top: 2.0e-03 is outside its domain in train, loguniform [1e-05, 0.001]: change that first"
    )
    assert for_file([HEAD], {"train.plan.long.stages.head.learning_rate": rate}) == [
        "for search.baseline: plan: {long: {stages: {head: {learning_rate: 1.0e-04}}}}"
    ]
    assert for_file([FLAT], {head: rate}) == []


@pytest.mark.parametrize(
    "text", [EXPERIMENT, EXPERIMENT.replace("  stages:\n", PLAN).replace("    - ", "          - ")]
)
def test_a_file_takes_the_line_for_its_baseline(tmp_path: Path, text: str) -> None:
    experiment = load(write_tiny(tmp_path, text))
    head = replace(HEAD, suggestion=2.04e-3)
    space = experiment.space
    (line,) = for_file([head], {name: space.domains[name] for name in space.active(experiment.baseline)})
    told = line.removeprefix("for search.baseline: ")
    changed = load(experiment.path, [f"search.baseline={{{told}}}"])
    assert changed.bind(changed.baseline).stages[0].learning_rate == 2.0e-3


def test_hints_say_what_to_try() -> None:
    calm = StageRates("full", RATES[:3], (2.0, 1.5, 1.0), False, 1e-4, 3e-3, 32, 8)
    assert hints([HEAD]) == []
    assert hints([FLAT]) == [
        "stage top<b>: its loss never clearly fell; try more --steps, or a lower --from. It may have little left to"
        " learn"
    ]
    (hint,) = hints([HEAD, calm])
    assert hint.startswith("stage full: it did not diverge")
    risen = StageRates("full", RATES, (2.0, 1.5, 1.4, 9.0, 9.0), False, 1e-4, 3e-3, 32, 8)
    assert hints([risen]) == [], "rates beyond the lowest loss were tried"
    assert hint.endswith("try a higher --to")


def test_json_holds_all_numbers_and_null_for_what_is_not_finite() -> None:
    told = json.loads(as_json("cars", [HEAD, FLAT]))
    assert (told["name"], told["rule"]) == ("cars", RULE)
    head = told["stages"][0]
    assert head["losses"] == [2.0, 1.5, 1.0, 1.2, None]
    assert (head["suggestion"], head["configured"], head["diverged"]) == (1e-4, 3e-3, True)
    assert len(head["smoothed_losses"]) == len(head["rates"]) == 5
    assert told["stages"][1]["suggestion"] is None
    assert [(stage["image_size"], stage["batch_size"]) for stage in told["stages"]] == [(32, 8), ("48x64", 4)]


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    text = page("cars<script>", "MobileNet, adam", [HEAD, FLAT])
    assert "<script" not in text
    assert "top&lt;b&gt;" in text
    assert not re.search(r"https?:|src=|@import|url\(", text)
    charts = [ET.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", text, re.S)]  # noqa: S314 - our own page
    assert len(charts) == 2
    raw, curve = (one.attrib["points"].split() for one in charts[0].iter("polyline"))
    assert len(raw) == 4, "a NaN has no point"
    assert len(curve) == 4
    marks = {
        one.attrib["class"]: float(one.attrib["x1"]) for one in charts[0].iter("line") if one.attrib["class"] != "grid"
    }
    assert marks["mark"] < marks["own"], "1e-4 stands left of 3e-3"
    assert marks["mark"] == pytest.approx(float(raw[1].partition(",")[0]), abs=0.1)
    assert {one.attrib["class"] for one in charts[1].iter("line")} == {"grid", "own"}


def test_the_page_names_size_and_batch_of_each_stage() -> None:
    text = page("cars", "MobileNet, adam", [HEAD, FLAT])
    sections = text.split("<h2>")[1:]
    for section, batches in zip(sections, ("batches of 8 at 32 px", "batches of 4 at 48x64 px"), strict=True):
        assert re.findall(r"batches of[^.]*", section) == [batches]


def test_a_curve_that_rises_from_near_nothing_is_drawn_whole_and_its_axis_is_short():
    losses = (0.04, *(0.02, -1e-9, 0.03) * 3, *(0.2, 0.3) * 8)
    stage = StageRates("top", tuple(1e-6 * 1.5**step for step in range(len(losses))), losses, False, None, 1e-3, 32, 8)
    chart = ET.fromstring(re.findall(r"<svg.*?</svg>", page("cars", "", [stage]), re.S)[0])  # noqa: S314 - our own page
    _, curve = (
        [float(point.partition(",")[2]) for point in one.attrib["points"].split()] for one in chart.iter("polyline")
    )
    assert len(set(curve)) == len(curve), "no part of it is cut off"
    labels = [one.text for one in chart.iter("text") if one.attrib.get("text-anchor") == "end"]
    assert labels[0] == "0.000"
    assert all(len(str(label)) <= 5 for label in labels)


@pytest.mark.slow
def test_the_page_fits_a_phone_and_has_readable_labels(tmp_path: Path) -> None:
    file = tmp_path / "cars.lr.html"
    file.write_text(page("cars", "MobileNet, adam", [HEAD, FLAT]), encoding="utf-8")
    with chromium() as browser:
        for width_px in WIDTHS_PX:
            visit = Visit(browser, file.as_uri(), width_px=width_px)
            assert (visit.overflow_px(), visit.faults(), visit.messages) == (0, [], [])
            # A label's size on the screen, after the chart is scaled to the page's width.
            heights = visit.page.evaluate(
                "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect().height)"
            )
            assert min(heights) > 10
            cut = visit.page.evaluate("""[...document.querySelectorAll('svg text')].filter((one) =>
                one.getBoundingClientRect().left < one.ownerSVGElement.getBoundingClientRect().left).length""")
            assert cut == 0
