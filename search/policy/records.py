"""What a study remembers of a trial, as plain frozen values: all that sampler, scheduler and report ever see."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from carcls.events import EpochReport, best_report, deciding_report
from search.experiment.domains import Value

Rank = tuple[float, float]
"""Sorts from worse to better, see `EpochReport.rank`."""


class TrialState(StrEnum):
    """Where a trial stands. Optuna has no PAUSED: there a trial is RUNNING until the search is over."""

    WAITING = "WAITING"
    """To be started: new, or interrupted and resumed from its last checkpoint."""
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    """At a rung: it may be promoted."""
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    """Was paused when the search was finished; it stays where it is."""
    FAIL = "FAIL"


OUT_OF_TIME = "the hours of search.budget.hours were used up"
"""Cause of a trial that was interrupted for that. It waits until the search is given more."""

_REPORT = "report:"
_STATUS = {
    "state": "state",
    "attempts": "attempts",
    "infeasible": "infeasible",
    "cause": "cause",
    "stop_after_stage": "stop_after_stage",
    "carried_at": "run_to_end_at",
    "deaths": "deaths",
    "traceback": "traceback",
    "fallbacks": "fallbacks",
}
"""Name in the study's journal, and in `TrialRecord`."""


def report_attribute(epoch: int, fallbacks: int = 0) -> str:
    """Name under which a study stores the report of an epoch that was trained after so many fallbacks of its trial."""
    return f"{_REPORT}{epoch}/{fallbacks}" if fallbacks else f"{_REPORT}{epoch}"


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study has it. `reports` are those of epochs 1, 2, ... without a gap."""

    number: int
    params: Mapping[str, Value]
    """By dotted path; only the parameters that are active in this configuration."""
    state: TrialState
    stage_count: int
    reports: tuple[EpochReport, ...]
    attempts: int
    """Segments started so far: promotions, resumptions and the first."""
    infeasible: bool
    """The configuration cannot be trained (out of memory, NaN): the sampler avoids its like."""
    cause: str | None
    """Why it failed, or why it was last interrupted."""
    is_baseline: bool
    stop_after_stage: int | None = None
    """Where the latest segment ends; None before the first."""
    run_to_end_at: int | None = None
    """Trials, repeats not counted, that the study held when this one was run to its end as the best of those paused; or
    None."""
    deaths: tuple[int, ...] = ()
    """Fidelity at each time that its process or node died."""
    traceback: str | None = None
    """Where the traceback of its failure lies, relative to the study's folder."""
    repeats: int | None = None
    """Number of the trial that it repeats, whole and with another seed; None: it was proposed by the search."""
    fold: int | None = None
    """Number of the fold that validates; None: the study's own split."""
    fallbacks: tuple[int, ...] = ()
    """Each time that checkpoints were lost: the epoch after which it went on, 0 where it started again."""

    @classmethod
    def from_attributes(cls, number: int, attributes: Mapping[str, Any]) -> Self:
        """From what a study stores: `params`, `stage_count`, `is_baseline`, `status`, and a `report:<epoch>` each.

        `repeats`, `fold` and `fallbacks` may be missing, as in studies from before there were any.
        """
        status = attributes["status"]
        fallbacks = tuple(status.get("fallbacks", ()))
        return cls(
            number=number,
            params=attributes["params"],
            stage_count=attributes["stage_count"],
            is_baseline=attributes["is_baseline"],
            repeats=attributes.get("repeats"),
            fold=attributes.get("fold"),
            reports=tuple(EpochReport.from_json(attributes[key]) for key in _standing(attributes, fallbacks)),
            **{
                **{name: status[key] for key, name in _STATUS.items() if key in status},
                "state": TrialState(status["state"]),
                "deaths": tuple(status["deaths"]),
                "fallbacks": fallbacks,
            },
        )

    def status(self) -> dict[str, Any]:
        """What changes besides the reports, as JSON. One attribute, so that a change is stored whole or not at all."""
        return {key: getattr(self, name) for key, name in _STATUS.items()}

    @property
    def fidelity(self) -> int:
        """Epochs that the trial has had."""
        return len(self.reports)

    @property
    def is_run_to_end(self) -> bool:
        """True once the trial was sent to its last stage as the best of those left paused."""
        return self.run_to_end_at is not None

    @property
    def is_cut_off(self) -> bool:
        """True where it waits because the search's hours were used up. False for a trial that is run
        to its end: the cause of an earlier interruption is kept."""
        return self.state is TrialState.WAITING and self.cause == OUT_OF_TIME and not self.is_run_to_end

    @property
    def restarts(self) -> int:
        """Deaths since the last recorded epoch: a trial that gets on between two deaths is not to blame."""
        return sum(fidelity == self.fidelity for fidelity in self.deaths)

    @cached_property
    def best(self) -> EpochReport | None:
        """The epoch whose weights are kept, over all stages; None without a finite one."""
        return best_report(self.reports)

    @property
    def best_rank(self) -> Rank | None:
        """The trial's value; None without a finite epoch."""
        return self.best.rank if self.best else None

    @cached_property
    def rung(self) -> int | None:
        """Number of the last stage that has ended; None before the first end."""
        return max((report.stage for report in self.reports if report.stage_ended), default=None)

    @property
    def next_stage(self) -> int | None:
        """The stage it is in or would go on with; None after the last."""
        stage = 0 if self.rung is None else self.rung + 1
        return stage if stage < self.stage_count else None

    def has_ended(self, stage: int) -> bool:
        """True once the stage is over, as planned or early."""
        return self.rung is not None and self.rung >= stage

    def rung_rank(self, stage: int) -> Rank | None:
        """The value of the epoch that decides within one stage; None where the stage has no finite one."""
        return self._rung_ranks.get(stage)

    @cached_property
    def _rung_ranks(self) -> dict[int, Rank]:
        # The scheduler asks for these at each decision, of every trial of the study.
        stages = {report.stage for report in self.reports}
        deciding = {
            stage: deciding_report([report for report in self.reports if report.stage == stage]) for stage in stages
        }
        return {stage: report.rank for stage, report in deciding.items() if report}


def _standing(attributes: Iterable[str], fallbacks: Sequence[int]) -> list[str]:
    """Names of the reports that count, in order of epochs: none beyond an epoch to which the trial fell back since."""
    stored = frozenset(attributes)
    names: list[str] = []
    for number, epoch in enumerate((0, *fallbacks)):
        del names[epoch:]
        while (name := report_attribute(len(names) + 1, number)) in stored:
            names.append(name)
    return names


def searched(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that the search proposed: a repeat climbs no ladder, tells the sampler nothing, and counts as no trial."""
    return [trial for trial in trials if trial.repeats is None]


def trained_s(reports: Iterable[EpochReport]) -> float:
    """Seconds that a worker spent on these epochs: building, training and validating."""
    return sum(report.seconds.total for report in reports)
