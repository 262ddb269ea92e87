"""The report as a reader meets it: in Chromium, from disk, at two sizes, light and dark."""

import numpy as np
import pytest

from carcls.dataset.loading import load_dataset
from carcls.inspection.folder_check import examine
from search.policy.records import TrialState
from search.report import report_data, write_report
from search.report.comparison_page import write_comparison
from search.report.data_page import write_data_page
from search.report.page import write_study_report
from search.study.frozen import open_experiment
from tests.helpers.browser import SCHEMES, WIDTHS_PX, Visit, chromium
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.search.trial_builders import climb, trial


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, experiment = made_up_study(tmp_path_factory.mktemp("report"), trials=30)
    write_study_report(folder, experiment)
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_it_is_whole_quiet_and_fits(browser, folder, width_px, scheme):
    visit = Visit(browser, folder.report.as_uri(), width_px=width_px, scheme=scheme)
    assert visit.blank_canvases() == []
    assert visit.page.locator("[data-chart]").count() == 15
    assert visit.page.locator("img").count() > 20
    assert visit.page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth)")
    assert [url for url in visit.requests if not url.startswith(("file:", "data:"))] == []
    assert visit.overflow_px() == 0
    assert visit.faults() == []
    visit.keep(f"report-{width_px}-{scheme}")
    assert visit.messages == []


def test_a_point_under_the_pointer_tells_its_trial_and_lights_it_up_everywhere(browser, folder):
    visit = Visit(browser, folder.report.as_uri())
    page = visit.page
    over = page.locator('[data-chart="curves"] .u-over')
    over.scroll_into_view_if_needed()
    tip = page.locator(".tip")
    assert tip.is_hidden()
    page.locator('[data-chart="curves"] .canvas').focus()
    page.keyboard.press("ArrowRight")
    assert "Trial 00" in tip.inner_text()
    assert "epoch 1, validation accuracy 0." in tip.inner_text()
    page.locator('[data-chart="curves"] .canvas').evaluate("one => one.blur()")
    assert tip.is_hidden()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    assert "validation accuracy 0." in tip.inner_text()
    winner = page.locator("tr.winner").first.get_attribute("data-trial")
    lit = page.locator("tr.lit")
    page.locator('[data-chart="curves"] .canvas').focus()
    for _ in range(400):
        page.keyboard.press("ArrowLeft")
        if lit.count() and lit.get_attribute("data-trial") == winner:
            break
    assert f"Trial {int(winner):04d}" in tip.inner_text()
    assert "winner" in tip.inner_text()


def test_tables_sort_filter_and_unfold(browser, folder):
    page = Visit(browser, folder.report.as_uri()).page
    board = page.locator("table.board[data-rows]")
    rows = board.locator("tbody tr:visible")
    assert rows.count() == 20
    frame = page.locator(".tabled", has=board)
    frame.get_by_role("button", name="Show all 30").click()
    assert rows.count() == 30

    def column(place):
        return [float(text) for text in rows.locator(f"td:nth-child({place})").all_inner_texts() if text != "–"]

    board.get_by_role("button", name="Accuracy").click()
    assert column(5) == sorted(column(5), reverse=True)
    assert len(column(5)) == 30
    board.get_by_role("button", name="Accuracy").click()
    assert column(5) == sorted(column(5))
    board.get_by_role("button", name="Trial").click()
    assert column(1) == [float(number) for number in range(30)]
    frame.get_by_role("searchbox").fill("failed")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["0004"]
    frame.get_by_role("searchbox").fill("large 0.")
    assert 0 < rows.count() < 30


def test_a_legend_switches_a_group_off(browser, folder):
    page = Visit(browser, folder.report.as_uri()).page
    chart = page.locator('[data-chart="curves"]')
    before = chart.locator("canvas:not(.over)").screenshot()
    button = chart.get_by_role("button", name="stopped early")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert chart.locator("canvas:not(.over)").screenshot() != before


def test_without_scripts_the_tables_and_photos_are_there(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(folder.report.as_uri())
    assert page.locator("table.board[data-rows] tbody tr:visible").count() == 30
    assert page.locator("img").count() > 20
    context.close()


def test_a_large_study_shows_some_trials_and_small_points_for_the_others(browser, tmp_path):
    rng = np.random.default_rng(0)
    records = [
        trial(
            number,
            TrialState.COMPLETE if number % 9 == 0 else TrialState.PRUNED,
            climb(*rng.uniform(0.3, 0.9, (3 if number % 9 == 0 else 1, 2)).tolist()),
            params={"train.rate": float(rng.uniform()), "train.backbone": f"net{number % 2}"},
        )
        for number in range(5000)
    ]
    times = {one.number: {r.epoch: 1e6 + 4.0 * (one.number // 8 + r.epoch) for r in one.reports} for one in records}
    page = tmp_path / "report.html"
    write_report(
        page,
        report_data(name="large", experiment_text="", records=records, validation_photos=100, epoch_times=times),
    )
    assert page.stat().st_size < 2_000_000
    visit = Visit(browser, page.as_uri())
    assert visit.page.locator("table.board[data-rows] tbody tr").count() == 500
    assert visit.blank_canvases() == []
    assert visit.overflow_px() == 0
    assert visit.faults() == []
    tip = visit.page.locator(".tip")
    chart = visit.page.locator('[data-chart="timeline"] .canvas')
    chart.focus()
    told = ""
    for _ in range(60):
        visit.page.keyboard.press("ArrowRight")
        told += tip.inner_text()
    assert "Trial 00" in told
    assert "trainings (" in told
    chart = visit.page.locator('[data-chart="slice0"] .canvas')
    chart.focus()
    visit.page.keyboard.press("ArrowRight")
    assert "Trial " in tip.inner_text(), "small points have nothing to tell"
    visit.keep("large-report")
    assert visit.messages == []


def test_it_prints(browser, folder, tmp_path):
    page = Visit(browser, folder.report.as_uri()).page
    content = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") >= 5 or len(content) > 100_000


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_report_of_photos_is_whole_quiet_and_fits(browser, folder, tmp_path, width_px, scheme):
    dataset = load_dataset(folder.root.parents[1] / "data", processes=1)
    write_data_page(tmp_path / "report.html", dataset, examine(dataset, seed=0), seed=0, threads=1)
    visit = Visit(browser, (tmp_path / "report.html").as_uri(), width_px=width_px, scheme=scheme)
    assert visit.blank_canvases() == []
    assert visit.page.locator("img").count() >= 5 * 12 + 4
    assert [url for url in visit.requests if not url.startswith(("file:", "data:"))] == []
    assert (visit.overflow_px(), visit.faults(), visit.messages) == (0, [], [])
    visit.keep(f"data-report-{width_px}-{scheme}")


def test_a_comparison_of_studies_is_whole_quiet_and_fits(browser, folder, tmp_path):
    place = tmp_path / ("a_long_name_" * 6)  # legends name studies by their folders
    place.mkdir()
    other, experiment = made_up_study(place, trials=5, per_class=8)
    page = tmp_path / "comparison.html"
    write_comparison([(folder, open_experiment(folder)), (other, experiment)], page)
    for width_px in WIDTHS_PX:
        visit = Visit(browser, page.as_uri(), width_px=width_px, scheme="dark")
        assert visit.blank_canvases() == []
        assert (visit.overflow_px(), visit.faults(), visit.messages) == (0, [], [])
        visit.keep(f"comparison-{width_px}-dark")
