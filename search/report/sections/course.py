"""How the search went: the ladder of stages, agreement of their rankings, and when trials trained. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.policy.agreement import agreeing_pairs
from search.policy.records import TrialRecord, TrialState, searched
from search.progress.summary import state_name

_FEWEST_SHARED = 4
"""Trials that two stages must share before their agreement is shown."""


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One stage: the trials that began it, ended it, and went on."""

    stage: int
    name: str
    began: int
    ended: int
    stopped_here: int
    """Trials whose last epoch is in this stage and that are not its last stage's."""
    best: float | None
    """Highest validation accuracy of any epoch in the stage."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two stages rank the trials that ended both of them in the same order."""

    earlier: str
    later: str
    trials: int
    agreeing: float
    """Share of pairs in the same order; 0.5 is chance."""


@dataclass(frozen=True, slots=True)
class Span:
    """An uninterrupted stretch of training of one trial, or several that are drawn as one."""

    number: int | None
    """The trial; None for several."""
    lane: int
    """Place among the trainings that ran at the same time, from 0."""
    start_s: float
    end_s: float
    """Seconds since the first training began."""
    fate: str
    stages: str
    """Names of the stages; for several trials, how many they are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of the best accuracy so far, over trials that finished all their stages or not."""

    seconds: float
    accuracy: float
    number: int


def ladder(records: Sequence[TrialRecord]) -> tuple[LadderRow, ...]:
    """One row for each stage that a trial began. Pure."""
    trials = searched(records)
    rows = []
    for stage in sorted({report.stage for trial in trials for report in trial.reports}):
        own = [[report for report in trial.reports if report.stage == stage] for trial in trials]
        reached = [reports for reports in own if reports]
        stopped = [
            trial for trial in trials if trial.reports and trial.reports[-1].stage == stage < trial.stage_count - 1
        ]
        rows.append(
            LadderRow(
                stage=stage,
                name=", ".join(dict.fromkeys(report.stage_name for reports in reached for report in reports)),
                began=len(reached),
                ended=sum(trial.has_ended(stage) for trial in trials),
                stopped_here=len(stopped),
                best=max((report.val_accuracy for reports in reached for report in reports), default=None),
            )
        )
    return tuple(rows)


def agreements(records: Sequence[TrialRecord]) -> tuple[Agreement, ...]:
    """Each stage against each later one that enough trials share. Pure."""
    trials = [trial for trial in searched(records) if trial.state is not TrialState.FAIL]
    names = {report.stage: report.stage_name for trial in trials for report in trial.reports}
    stages = sorted(names)
    found = []
    for at, earlier in enumerate(stages):
        for later in stages[at + 1 :]:
            both = [(trial.rung_rank(earlier), trial.rung_rank(later)) for trial in trials if trial.has_ended(later)]
            order = [(first, second) for first, second in both if first is not None and second is not None]
            if len(order) >= _FEWEST_SHARED:
                pairs = len(order) * (len(order) - 1) // 2
                share = agreeing_pairs(order) / pairs
                found.append(Agreement(names[earlier], names[later], len(order), share))
    return tuple(found)


def spans(records: Sequence[TrialRecord], ended_at: Mapping[int, Mapping[int, float]]) -> tuple[Span, ...]:
    """When each trial trained. Stretches that overlap get different lanes. Pure.

    ended_at: for each trial, the clock in seconds at the end of each epoch, as far as it is known.
    """
    stretches = [one for record in records for one in _stretches(record, ended_at.get(record.number, {}))]
    stretches.sort(key=lambda one: (one[1], one[0].number))
    zero = min((start for _, start, _, _ in stretches), default=0.0)
    lanes: list[float] = []
    found = []
    for record, start, end, stages in stretches:
        lane = next((lane for lane, free in enumerate(lanes) if free <= start + 0.5), len(lanes))
        lanes[lane : lane + 1] = [end]
        found.append(Span(record.number, lane, start - zero, end - zero, fate_of(record), stages))
    return tuple(found)


def _stretches(record: TrialRecord, ends: Mapping[int, float]) -> list[tuple[TrialRecord, float, float, str]]:
    """(record, start, end, stage names) of epochs that followed each other without a pause."""
    found: list[tuple[TrialRecord, float, float, str]] = []
    for report in record.reports:
        if report.epoch not in ends:
            continue
        end = ends[report.epoch]
        start = end - report.seconds.total
        gap = max(2.0, 0.5 * report.seconds.total)
        if found and start - found[-1][2] < gap:
            _, first, before, names = found[-1]
            more = names if names.endswith(report.stage_name) else f"{names}, {report.stage_name}"
            found[-1] = (record, first, max(end, before), more)
        else:
            found.append((record, start, end, report.stage_name))
    return found


def best_so_far(records: Sequence[TrialRecord], ended_at: Mapping[int, Mapping[int, float]]) -> tuple[Progress, ...]:
    """Each improvement of the highest validation accuracy, by clock. Pure."""
    trials = [trial for trial in searched(records) if trial.state is not TrialState.FAIL]
    epochs = [
        (ended_at[trial.number][report.epoch], report.val_accuracy, trial.number, report.seconds.total)
        for trial in trials
        for report in trial.reports
        if report.epoch in ended_at.get(trial.number, {})
    ]
    zero = min((end - took for end, _, _, took in epochs), default=0.0)
    steps: list[Progress] = []
    for end, accuracy, number, _ in sorted(epochs):
        if not steps or accuracy > steps[-1].accuracy:
            steps.append(Progress(end - zero, accuracy, number))
    return tuple(steps)


def fate_of(record: TrialRecord) -> str:
    """How a trial ended, as the page colours it: complete, stopped, running or failed."""
    return fate_of_state(state_name(record))


def fate_of_state(name: str) -> str:
    """The fate for the name of a state, see `state_name`."""
    if name in ("failed", "infeasible"):
        return "failed"
    if name in ("paused", "pruned"):
        return "stopped"
    return "complete" if name == "complete" else "running"
