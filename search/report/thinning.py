"""Fewer marks that look the same: one point in each cell of a fine grid, and neighbouring bars as one. Pure."""

from collections import Counter
from collections.abc import Sequence
from math import log

from search.report.chart_values import FATES
from search.report.sections.course import Span
from search.terminal.formatting import count_text

XY = tuple[float, float]

_COLUMNS, _ROWS = 64, 40
"""Cells of the grid. A chart is at most 1,150 px wide and 420 px high, and a dot has 4 to 7 px."""
_FINEST = 2048
"""Parts of the time axis within which two bars of a lane become one; halved until few enough are left."""


def thinned(points: Sequence[XY], *, log_x: bool = False) -> list[XY]:
    """The first point of each cell of a grid over the points' extent, in their order.

    log_x: the grid is even in the logarithm of x; points without a positive x are then left out.
    """
    placed = [(log(x) if log_x else x, y, (x, y)) for x, y in points if x > 0 or not log_x]
    if not placed:
        return []
    left, low = min(x for x, _, _ in placed), min(y for _, y, _ in placed)
    width = (max(x for x, _, _ in placed) - left) or 1.0
    height = (max(y for _, y, _ in placed) - low) or 1.0
    cells: dict[tuple[int, int], XY] = {}
    for x, y, point in placed:
        cells.setdefault((int(_COLUMNS * (x - left) / width), int(_ROWS * (y - low) / height)), point)
    return list(cells.values())


def merged(spans: Sequence[Span], most: int) -> tuple[Span, ...]:
    """At most about `most` spans: the shortest gaps within a lane are closed first.

    A merged span has no number; its fate is the most frequent one, and `stages` says how many trainings it covers.
    Never fewer than one for each lane.
    """
    lanes: dict[int, list[Span]] = {}
    for span in spans:
        lanes.setdefault(span.lane, []).append(span)
    parts, end_s = _FINEST, max((span.end_s for span in spans), default=0.0)
    groups = [[span] for span in spans]
    while len(groups) > most and parts:
        groups = [group for lane in lanes.values() for group in _joined(lane, end_s / parts)]
        parts //= 2
    return tuple(sorted(map(_as_one, groups), key=lambda one: (one.start_s, one.lane)))


def _joined(lane: Sequence[Span], gap_s: float) -> list[list[Span]]:
    """Spans of one lane in groups, so that a group begins at least `gap_s` after the one before began."""
    groups: list[list[Span]] = []
    for span in lane:
        if groups and span.end_s - groups[-1][0].start_s < gap_s:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _as_one(group: Sequence[Span]) -> Span:
    if len(group) == 1:
        return group[0]
    fates = Counter(span.fate for span in group)
    kinds = ", ".join(f"{count} {FATES[fate]}" for fate, count in fates.most_common())
    return Span(
        number=None,
        lane=group[0].lane,
        start_s=group[0].start_s,
        end_s=max(span.end_s for span in group),
        fate=fates.most_common(1)[0][0],
        stages=f"{count_text(len(group), 'training')} ({kinds})",
    )
