"""What the page shows of a large study: a few hundred trials, and the others thinned out. Pure.

A page of 10,000 trials would have 30 MB. Tables and fronts that sum up trials still cover all of them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search.report.page_data import Failure, ReportData, TrialRow
from search.report.sections.course import fate_of_state
from search.report.sections.parameters import ParameterView
from search.report.thinning import XY, merged, thinned

MOST_TRIALS = 500
"""Studies of up to as many trials are shown whole."""
BEST, LATEST = 200, 100
"""Of the trials shown; the others are spread evenly over the study."""
_OF_EACH_FATE = 25
"""Trials shown of each fate, if the study has as many."""
_MOST_BARS = 3000
_MOST_ROWS = 100
"""Rows of the tables of failures and of split batches."""
_KIND_LENGTH = 40
"""Characters by which failures of one kind agree."""


@dataclass(frozen=True, slots=True)
class PageView:
    """A study as its page shows it."""

    data: ReportData
    """With the rows, curves, points and bars of the trials shown."""
    trials: int
    """In the whole study, without repeats."""
    failures: int
    parts: int
    """Rows of split batches in the whole study."""
    other_costs: Mapping[str, Sequence[XY]] = field(default_factory=dict)
    """By backbone: (training time in s, accuracy) of the trials not shown, thinned out."""
    other_times: Mapping[str, Sequence[XY]] = field(default_factory=dict)
    """By backbone: (ms per photo, accuracy) of the trials not shown, thinned out."""
    other_points: Mapping[str, Sequence[XY]] = field(default_factory=dict)
    """By parameter: (value or category, accuracy) of the trials not shown, thinned out."""

    @property
    def is_limited(self) -> bool:
        """True if trials were left out."""
        return len(self.data.leaderboard) < self.trials

    @property
    def shown(self) -> str:
        """`500 of 10 000 trials`, with a thin space."""
        return f"{len(self.data.leaderboard)} of {self.trials:,} trials".replace(",", "\u202f")

    @property
    def rule(self) -> str:
        """Which trials these are."""
        return f"the best {BEST}, the latest {LATEST}, and others spread over the study that ended in every way"


def page_view(data: ReportData, *, most: int = MOST_TRIALS) -> PageView:
    """The study's page. Up to `most` trials are all shown, and the data are those given."""
    whole = PageView(data, trials=len(data.leaderboard), failures=len(data.failures), parts=len(data.parts))
    if len(data.leaderboard) <= most:
        return whole
    shown = shown_trials(data.leaderboard, _always(data), most=most)
    limited = replace(
        data,
        leaderboard=tuple(row for row in data.leaderboard if row.number in shown),
        curves=tuple(curve for curve in data.curves if curve.number in shown),
        parameters=tuple(_only(view, shown) for view in data.parameters),
        costs=tuple(point for point in data.costs if point.number in shown),
        spans=merged(data.spans, _MOST_BARS),
        failures=_telling_failures(data.failures),
        parts=data.parts[-_MOST_ROWS:],
    )
    others = [point for point in data.costs if point.number not in shown]
    backbones = sorted({point.backbone for point in others})
    return replace(
        whole,
        data=limited,
        other_costs={
            name: thinned([(one.seconds, one.accuracy) for one in others if one.backbone == name], log_x=True)
            for name in backbones
        },
        other_times={
            name: thinned(
                [(one.ms_per_photo, one.accuracy) for one in others if one.backbone == name and one.ms_per_photo],
                log_x=True,
            )
            for name in backbones
        },
        other_points={
            view.name: thinned(
                [(point.x, point.accuracy) for point in view.points if point.number not in shown],
                log_x=view.scale == "log",
            )
            for view in data.parameters
        },
    )


def shown_trials(rows: Sequence[TrialRow], always: Collection[int] = (), *, most: int = MOST_TRIALS) -> frozenset[int]:
    """Numbers of the trials to show.

    These are `always`, the best, the latest, some of each fate, and an even sample of the others, at most `most` unless
    `always` has more. rows: the leaderboard, the best first.
    """
    if len(rows) <= most:
        return frozenset(row.number for row in rows)
    by_number = sorted(rows, key=lambda row: row.number)
    chosen = {row.number for row in rows} & set(always)
    for row in (*rows[:BEST], *by_number[-LATEST:]):
        if len(chosen) < most:
            chosen.add(row.number)
    fates: dict[str, list[int]] = {}
    for row in by_number:
        fates.setdefault(fate_of_state(row.state), []).append(row.number)
    for numbers in fates.values():
        missing = _OF_EACH_FATE - len(chosen.intersection(numbers))
        chosen.update(_spread([one for one in numbers if one not in chosen], min(missing, most - len(chosen))))
    others = [row.number for row in by_number if row.number not in chosen]
    return frozenset(chosen).union(_spread(others, most - len(chosen)))


def _spread(numbers: Sequence[int], count: int) -> Iterator[int]:
    """At most `count` of the numbers, evenly spaced."""
    count = min(count, len(numbers))
    return (numbers[at * len(numbers) // count] for at in range(max(0, count)))


def _always(data: ReportData) -> set[int]:
    """The trials that other parts of the page name or mark: those of fronts and records too."""
    marked = {row.number for row in data.leaderboard if row.role != "other"}
    finalists = {row.number for row in data.finals.rows} if data.finals else set()
    fronts = {point.number for point in data.costs if point.pareto or point.pareto_ms}
    return marked | finalists | fronts | {step.number for step in data.progress}


def _only(view: ParameterView, shown: Collection[int]) -> ParameterView:
    return replace(view, points=tuple(point for point in view.points if point.number in shown))


def _telling_failures(failures: Sequence[Failure]) -> tuple[Failure, ...]:
    """At most 100: the first of each kind, and the latest."""
    if len(failures) <= _MOST_ROWS:
        return tuple(failures)
    kinds: dict[str, int] = {}
    for failure in failures:
        kinds.setdefault(failure.cause.partition(":")[0][:_KIND_LENGTH], failure.number)
    firsts = set(list(kinds.values())[: _MOST_ROWS // 2])
    latest = [failure.number for failure in failures if failure.number not in firsts]
    kept = firsts.union(latest[len(firsts) - _MOST_ROWS :])
    return tuple(failure for failure in failures if failure.number in kept)
