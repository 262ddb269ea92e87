"""Headless Chromium for tests of pages: what a page says, asks for, and looks like."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WIDTHS_PX = (1280, 390)
SCHEMES = ("light", "dark")
ARTEFACTS = Path(os.environ.get("CARSEARCH_ARTEFACTS", "test-artefacts"))
"""Folder for screenshots; CI keeps it."""


@contextmanager
def chromium() -> Iterator:
    """A browser; skips where Chromium or Playwright is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """One page opened at one size and colour scheme, with what it logged and requested."""

    def __init__(self, browser, address: str, *, width_px: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width_px, "height": 900}, color_scheme=scheme)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_load_state()

    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def blank_canvases(self) -> list[str]:
        """Names of charts on whose canvas nothing is drawn besides axes: fewer than three colours."""
        return self.page.evaluate("""() => [...document.querySelectorAll("[data-chart]")].filter((place) => {
            const canvas = place.querySelector("canvas:not(.over)");
            if (!canvas) return true;
            const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const seen = new Set(), coarse = (at) => all.slice(at, at + 3).map((value) => value >> 5).join();
            for (let at = 0; at < all.length; at += 4) if (all[at + 3] > 40) seen.add(coarse(at));
            return seen.size < 3;
        }).map((place) => place.dataset.chart)""")

    def faults(self) -> list[str]:
        """Serious and critical findings of axe-core, one line each."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:120]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def keep(self, name: str) -> None:
        """A screenshot of the whole page among the artefacts."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)
