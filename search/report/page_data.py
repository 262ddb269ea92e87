"""The page's content as plain values: pure functions of the study's records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carcls.events import EpochReport
from search.experiment.domains import Value
from search.experiment.search_settings import FinalistSettings
from search.experiment.space import Space
from search.policy.finals import NO_FINALS
from search.policy.node_health import NodeHealth
from search.policy.records import TrialRecord, TrialState, searched
from search.progress.summary import counts_line, leading_trial, state_name
from search.report.sections.advice import Advice, advice
from search.report.sections.confidence import Score, trial_score
from search.report.sections.course import (
    Agreement,
    LadderRow,
    Progress,
    Span,
    agreements,
    best_so_far,
    fate_of,
    ladder,
    spans,
)
from search.report.sections.final_training import FinalTraining, final_training
from search.report.sections.finals_table import Finals, finals_view
from search.report.sections.gpu_panel import GpuPanel, gpu_panel
from search.report.sections.importance import Importances, importances
from search.report.sections.mistakes import Mistakes
from search.report.sections.next_steps import Command
from search.report.sections.parameters import ParameterView, parameter_views, role_of
from search.report.sections.phases import TimeSpent, time_spent
from search.report.sections.split_batches import PartsRow, parts_rows
from search.report.sections.stage_table import StageRow, stage_rows
from search.report.sections.trade_offs import CostPoint, cost_points
from search.report.sections.winner import Winner, winner
from search.study.ensemble_scores import EnsembleScores
from search.study.expected import WinnerExpectation
from search.study.node_notes import NodeNote

NO_TIMES: Mapping[int, Mapping[int, float]] = {}
"""Without event files there is no timeline."""


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One line of the leaderboard, best first."""

    number: int
    role: str
    state: str
    stages_ended: int
    stage_count: int
    epochs: int
    seconds: float
    score: Score | None
    params: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial that failed, and why."""

    number: int
    kind: str
    epochs: int
    cause: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Validation accuracy of one trial, epoch by epoch."""

    number: int
    role: str
    fate: str
    """See `search.report.sections.course.fate_of`."""
    points: tuple[tuple[int, float], ...]
    borders: tuple[tuple[int, str], ...]
    """The last epoch and the name of each stage."""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page; the template only renders it."""

    name: str
    experiment_text: str
    device: str
    counts: str
    validation_photos: int | None
    elapsed_s: float | None
    trained_s: float
    """Total seconds that trials spent building, training and validating."""
    gpus_per_trial: float
    interruptions: int
    winner: Winner | None
    finals: Finals | None
    leaderboard: tuple[TrialRow, ...]
    curves: tuple[Curve, ...]
    parameters: tuple[ParameterView, ...]
    winner_stages: tuple[StageRow, ...]
    pooled_stages: tuple[StageRow, ...]
    time: TimeSpent | None
    parts: tuple[PartsRow, ...]
    failures: tuple[Failure, ...]
    quarantined: tuple[tuple[str, str], ...]
    retrain: FinalTraining | None
    submission: str | None
    ended: str
    """Why the search ended, as a sentence; '' without a search."""
    commands: tuple[Command, ...]
    advice: tuple[Advice, ...]
    mistakes: Mistakes | None
    importances: Importances | None
    costs: tuple[CostPoint, ...]
    ladder: tuple[LadderRow, ...]
    agreements: tuple[Agreement, ...]
    spans: tuple[Span, ...]
    progress: tuple[Progress, ...]
    nodes: tuple[NodeNote, ...] = ()
    """Nodes of the cluster; empty for searches on one machine."""
    gpus: GpuPanel | None = None
    ensemble: EnsembleScores | None = None
    """The exported one; None without any."""


def report_data(
    *,
    name: str,
    experiment_text: str,
    records: Sequence[TrialRecord],
    validation_photos: int | None,
    quarantined: Sequence[tuple[str, str]] = (),
    retrain: Mapping[str, Any] | None = None,
    retrain_reports: Sequence[EpochReport] = (),
    submission: str | None = None,
    elapsed_s: float | None = None,
    gpus_per_trial: float = 0.0,
    device: str = "",
    finalists: FinalistSettings = NO_FINALS,
    finals_exhausted: bool = False,
    holdout_photos: int | None = None,
    expected: WinnerExpectation | None = None,
    space: Space | None = None,
    mistakes: Mistakes | None = None,
    epoch_times: Mapping[int, Mapping[int, float]] = NO_TIMES,
    ended: str = "",
    commands: Sequence[Command] = (),
    nodes: tuple[NodeNote, ...] = (),
    failing_gpus: tuple[NodeHealth, ...] = (),
    ensemble: EnsembleScores | None = None,
) -> ReportData:
    """The page's content. Pure.

    experiment_text: the resolved experiment file. quarantined: (path, reason) of each unusable photo. retrain: the
    values of `retrain/scores.json`. retrain_reports: the final training's epochs. submission: the path to show.
    elapsed_s: wall-clock time over all runs. gpus_per_trial: 0 if trials ran on CPUs. device: one line about the
    machine. finals_exhausted: the budget does not allow more repeats of `finalists`. expected: see
    `search.study.expected`. space: gives parameters their axes; without it no importances are computed. mistakes: see
    `sections.mistakes`. epoch_times: for each trial, Unix time in seconds at the end of each epoch. ended,
    commands: see `sections.next_steps`. Without `validation_photos` or `holdout_photos` their scores have no
    interval. nodes: of a cluster. failing_gpus: see `search.study.gpu_notes`. ensemble: the exported one. Raises
    KeyError if `retrain` lacks a score.
    """
    best, trials = leading_trial(records), searched(records)
    finals = finals_view(records, finalists, exhausted=finals_exhausted, photos=validation_photos)
    return ReportData(
        name=name,
        experiment_text=experiment_text,
        device=device,
        counts=counts_line(records),
        validation_photos=validation_photos,
        elapsed_s=elapsed_s,
        trained_s=sum(record.trained_s for record in records),
        gpus_per_trial=gpus_per_trial,
        interruptions=sum(len(record.deaths) for record in records),
        winner=winner(best, trials, (validation_photos, holdout_photos), finals, expected) if best else None,
        finals=finals,
        leaderboard=_leaderboard(trials, best, validation_photos),
        curves=tuple(_curve(record, best) for record in trials if record.reports),
        parameters=parameter_views(trials, best, space.domains if space else None),
        winner_stages=stage_rows([best]) if best else (),
        pooled_stages=stage_rows(trials),
        time=time_spent(records, best, retrain_reports),
        parts=parts_rows(records, retrain_reports),
        failures=tuple(_failure(record) for record in records if record.state is TrialState.FAIL),
        quarantined=tuple(quarantined),
        retrain=final_training(retrain) if retrain else None,
        submission=submission,
        ended=ended,
        commands=tuple(commands),
        advice=advice(records, space, mistakes),
        mistakes=mistakes,
        importances=importances(records, space) if space else None,
        costs=cost_points(records, best, validation_photos),
        ladder=ladder(records),
        agreements=agreements(records),
        spans=spans(records, epoch_times),
        progress=best_so_far(records, epoch_times),
        nodes=nodes,
        gpus=gpu_panel(records, retrain_reports, failing_gpus),
        ensemble=ensemble,
    )


def _leaderboard(records: Sequence[TrialRecord], best: TrialRecord | None, photos: int | None) -> tuple[TrialRow, ...]:
    """Best first, then trials without an epoch, then failed trials."""
    ranked = sorted(records, key=_leaderboard_order)
    return tuple(
        TrialRow(
            number=record.number,
            role=role_of(record, best),
            state=state_name(record),
            stages_ended=0 if record.rung is None else record.rung + 1,
            stage_count=record.stage_count,
            epochs=record.fidelity,
            seconds=record.trained_s,
            score=trial_score(record, photos),
            params=record.params,
        )
        for record in ranked
    )


def _leaderboard_order(record: TrialRecord) -> tuple[bool, bool, float, float, int]:
    first, second = record.best_rank or (0.0, 0.0)
    return (record.state is TrialState.FAIL, record.best_rank is None, -first, -second, record.number)


def _curve(record: TrialRecord, best: TrialRecord | None) -> Curve:
    return Curve(
        number=record.number,
        role=role_of(record, best),
        fate=fate_of(record),
        points=tuple((report.epoch, report.val_accuracy) for report in record.reports),
        borders=tuple((report.epoch, report.stage_name) for report in record.reports if report.stage_ended),
    )


def _failure(record: TrialRecord) -> Failure:
    cause = record.cause or "no cause recorded"
    repeats = "" if record.repeats is None else f"repeats trial {record.repeats:04d}: "
    return Failure(number=record.number, kind=state_name(record), epochs=record.fidelity, cause=repeats + cause)
