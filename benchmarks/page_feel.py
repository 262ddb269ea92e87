"""How a report feels in headless Chromium: the time of what a reader waits for."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.helpers.browser import Visit, chromium

_TIMED = """
const layout = () => document.body.offsetHeight;
const timed = (act) => { const start = performance.now(); act(); layout(); return performance.now() - start; };
"""
_HOVER = (
    _TIMED
    + """
const canvas = document.querySelector('[data-chart="curves"] .canvas');
canvas.scrollIntoView({block: "center"});
const box = canvas.querySelector(".u-over").getBoundingClientRect();
return [...Array(200).keys()].map((at) => timed(() => canvas.dispatchEvent(new PointerEvent("pointermove", {
    bubbles: true,
    clientX: box.left + box.width * (at + 0.5) / 200,
    clientY: box.top + box.height * (0.2 + 0.6 * (at % 20) / 20),
}))));
"""
)
_TABLE = (
    _TIMED
    + """
const table = document.querySelector("table.board[data-rows]"), frame = table.closest(".tabled");
const unfold = timed(() => frame.querySelector("button.more").click());
const heads = [...table.tHead.querySelectorAll("button")];
const sorts = heads.flatMap((head) => [timed(() => head.click()), timed(() => head.click())]);
const input = frame.querySelector("input");
const type = (text) => { input.value = text; input.dispatchEvent(new Event("input")); };
const filters = ["0", "00", "large", "large 0.1"].map((text) => timed(() => type(text)));
return [unfold, Math.max(...sorts), Math.max(...filters)];
"""
)


@dataclass(frozen=True, slots=True)
class PageFeel:
    """Milliseconds, each with the layout that follows."""

    load_ms: float
    """From the request until the page and its charts are there."""
    hover_ms: float
    """Median of 200 moves of the pointer over the learning curves."""
    worst_hover_ms: float
    unfold_ms: float
    """The leaderboard's other rows are shown."""
    sort_ms: float
    """Longest sort of the unfolded leaderboard, over all columns and both directions."""
    filter_ms: float
    """Longest filter of the unfolded leaderboard."""


def page_feel(report: Path) -> PageFeel:
    """Opens a report of a search with more than 20 trials at 1280 px, and acts on it."""
    with chromium() as browser:
        page = Visit(browser, report.as_uri()).page
        load = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        moves = page.evaluate(f"() => {{ {_HOVER} }}")
        unfold, sort, filtered = page.evaluate(f"() => {{ {_TABLE} }}")
    return PageFeel(load, median(moves), max(moves), unfold, sort, filtered)
