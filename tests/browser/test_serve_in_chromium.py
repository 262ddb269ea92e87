"""The page of `carsearch serve` in Chromium, against the real command."""

import re
import signal

import cv2
import numpy as np
import pytest

from tests.helpers.browser import SCHEMES, WIDTHS_PX, Visit, chromium
from tests.helpers.colour_model import write_colour_model
from tests.helpers.search.processes import start_cli, wait_until

pytestmark = pytest.mark.slow  # the command imports TensorFlow
DROP = """async ([bytes, name]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
    for (const kind of ["dragover", "drop"])
        document.getElementById("drop").dispatchEvent(
            new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}));
}"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    process = start_cli("serve", str(write_colour_model(folder)), "--port", "0", cwd=folder)
    output = folder / "output.txt"
    try:
        wait_until(lambda: process.poll() is not None or "Ctrl-C" in output.read_text(encoding="utf-8"), "its address")
        found = re.search(r"http://127\.0\.0\.1:\d+/", output.read_text(encoding="utf-8"))
        assert found, output.read_text(encoding="utf-8")
        yield found.group()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def photo(path, *rgb: int):
    cv2.imwrite(str(path), np.full((90, 120, 3), rgb[::-1], np.uint8))
    return path


def test_chosen_and_dropped_photos_get_their_classes(browser, url, tmp_path):
    visit = Visit(browser, url)
    page = visit.page
    page.set_input_files("#files", [photo(tmp_path / "1.png", 200, 9, 9), photo(tmp_path / "<b>2.png", 9, 200, 9)])
    first = page.locator(".answer", has_text="1.png").locator("li").first
    first.wait_for()
    assert first.inner_text().split()[0] == "red"
    second = page.locator(".answer", has_text="<b>2.png").locator("li").first
    second.wait_for()
    assert second.inner_text().split()[0] == "green"
    page.evaluate(DROP, [list(photo(tmp_path / "3.png", 9, 9, 200).read_bytes()), "dropped.png"])
    third = page.locator(".answer", has_text="dropped.png").locator("li").first
    third.wait_for()
    assert third.inner_text().split()[0] == "blue"
    assert page.evaluate("[...document.images].every((one) => one.naturalWidth === 120)")
    assert [one for one in visit.requests if not one.startswith((url, "blob:", "data:"))] == []
    assert visit.messages == []


def test_a_file_that_is_no_photo_is_told_in_words(browser, url, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"<script>alert(1)</script>")
    page = Visit(browser, url).page
    page.set_input_files("#files", [bad])
    note = page.locator(".answer", has_text="cannot be classified")
    note.wait_for()
    assert str(tmp_path) not in note.inner_text()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_page_fits_and_everyone_can_use_it(browser, url, tmp_path, width_px, scheme):
    visit = Visit(browser, url, width_px=width_px, scheme=scheme)
    visit.page.set_input_files("#files", [photo(tmp_path / ("long" * 30 + ".png"), 200, 9, 9)])
    visit.page.locator(".answer li").first.wait_for()
    assert (visit.overflow_px(), visit.faults(), visit.messages) == (0, [], [])
    visit.keep(f"serve-{width_px}-{scheme}")
