"""TensorBoard's own page of a study, in Chromium: curves, the HParams table, pictures of the best models."""

import pytest

from search.report.page import write_study_report
from tests.helpers.browser import Visit, chromium
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.tensorboard_server import TensorBoard

pytestmark = [
    pytest.mark.release,  # half a minute: TensorBoard's page is large
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
TRIALS = 7
LOAD_MS = 60_000
ABOUT_ITSELF = ("Multiple instances of Three.js", "is deprecated. Please use app-layout")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, experiment = made_up_study(tmp_path_factory.mktemp("tensorboard"), trials=TRIALS, per_class=10)
    write_study_report(folder, experiment)
    server = TensorBoard(folder.root)
    try:
        server.runs_loaded({*(f"trials/{number:04d}" for number in range(TRIALS)), "summary/search"})
        yield server
    finally:
        server.end()


@pytest.fixture
def visit(server):
    with chromium() as browser:

        def opened(tab: str, ready: str) -> Visit:
            found = Visit(browser, f"{server.url}/#{tab}")
            found.page.wait_for_selector(ready, timeout=LOAD_MS)
            return found

        yield opened


def assert_quiet(visit: Visit, server: TensorBoard, name: str) -> None:
    """No request leaves the machine, and the console holds TensorBoard's remarks about itself only."""
    visit.keep(f"tensorboard-{name}")
    assert [url for url in visit.requests if not url.startswith((server.url, "data:", "blob:"))] == []
    assert [text for text in visit.messages if not any(own in text for own in ABOUT_ITSELF)] == []


def test_it_draws_a_curve_of_every_trial(visit, server):
    shown = visit("scalars", "scalar-card line-chart, tf-scalar-card svg")
    page = shown.page
    page.wait_for_function(f"{LINES} >= {TRIALS}", timeout=LOAD_MS)
    for number in range(TRIALS):
        assert page.get_by_text(f"trials/{number:04d}").first.is_visible()
    assert_quiet(shown, server, "curves")


def test_its_hparams_table_lists_every_trial_with_its_parameters(visit, server):
    shown = visit("hparams", "vaadin-grid-cell-content >> text=0006")
    cells = [text.strip() for text in shown.page.locator("vaadin-grid-cell-content").all_inner_texts()]
    assert {f"{number:04d}" for number in range(TRIALS)} <= set(cells)
    assert {"Trial ID", "train.backbone", "train.head.dropout", "small", "large"} <= set(cells)
    assert_quiet(shown, server, "hparams")


def test_its_images_show_the_confusion_matrix(visit, server):
    shown = visit("images", "tf-image-loader img")
    page = shown.page
    for tag in ("predictions/confusion", "predictions/reliability", "predictions/mistakes", "augmented"):
        assert page.get_by_text(tag).first.is_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('img')].filter((one) => one.naturalWidth > 200).length >= 4", timeout=LOAD_MS
    )
    assert_quiet(shown, server, "images")
