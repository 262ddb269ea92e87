"""TensorBoard's own page of a study, in Chromium: curves, the HParams table, pictures of the best models."""

import cv2
import numpy as np
import pytest

from search.report.page import write_study_report
from tests.helpers.browser import Visit, chromium
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.search.processes import wait_until
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
    """No request leaves the machine, and the console holds only TensorBoard's remarks about itself."""
    visit.keep(f"tensorboard-{name}")
    assert [url for url in visit.requests if not url.startswith((server.url, "data:", "blob:"))] == []
    assert [text for text in visit.messages if not any(own in text for own in ABOUT_ITSELF)] == []


def hues(picture: bytes) -> set[int]:
    """Hues of at least ten strongly coloured pixels each, in steps of 20 degrees."""
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2HSV)
    strong = pixels[(pixels[..., 1] > 120) & (pixels[..., 2] > 80)][:, 0] // 10
    found, counts = np.unique(strong, return_counts=True)
    return {int(hue) for hue, count in zip(found, counts, strict=True) if count >= 10}


def test_it_draws_the_trials_curves(visit, server):
    shown = visit("scalars", "vz-line-chart2")
    for number in range(TRIALS):
        assert shown.page.get_by_text(f"trials/{number:04d}").first.is_visible()
    assert shown.page.get_by_text("best/validation_accuracy").first.is_visible()
    chart = shown.page.locator("vz-line-chart2").first
    wait_until(lambda: len(hues(chart.screenshot())) >= 3, "points of several trials", within_s=60)
    assert_quiet(shown, server, "curves")


def test_its_hparams_table_lists_every_trial_with_its_parameters(visit, server):
    shown = visit("hparams", 'vaadin-grid-cell-content:has-text("0006")')
    cells = {text.strip() for text in shown.page.locator("vaadin-grid-cell-content").all_inner_texts()}
    assert {f"{number:04d}" for number in range(TRIALS)} <= cells
    assert {"Trial ID", "train.backbone", "train.head.dropout", "small", "large"} <= cells
    assert_quiet(shown, server, "hparams")


def test_its_images_show_the_confusion_matrix(visit, server):
    shown = visit("images", "tf-image-loader img")
    for tag in ("predictions/confusion", "predictions/reliability", "predictions/mistakes", "augmented"):
        assert shown.page.get_by_text(tag).first.is_visible()
    photos = shown.page.locator("tf-image-loader img")
    widths = "all => all.map((one) => one.complete ? one.naturalWidth : 0)"
    wait_until(
        lambda: photos.count() == 4 and min(photos.evaluate_all(widths)) > 100, "four whole pictures", within_s=60
    )
    assert_quiet(shown, server, "images")
