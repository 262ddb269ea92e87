"""Trials as plain frozen values. Sampler, scheduler and report see nothing else of a study."""

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
    """State of a trial. Optuna has no PAUSED: there, a trial is RUNNING until the search is over."""

    WAITING = "WAITING"
    """To be started: either new, or interrupted and to be resumed from its last checkpoint."""
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    """At a rung, from which it may be promoted."""
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    """Ended before its last stage, usually because it was paused when the search finished."""
    FAIL = "FAIL"


STOPPED = "stopped by the user"
"""Cause of a trial that `carsearch trial stop` ended."""

OUT_OF_TIME = "the hours of search.budget.hours were used up"
"""Cause of a trial that was interrupted because of the time limit. It waits until the search gets more hours."""
OUT_OF_WHOLE = "the search's part of --hours was used up"
"""The same by a whole run's hours."""

PORTFOLIO = "portfolio"
"""The only parameter of a trial that repeats a recipe of the portfolio: the recipe's name."""

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
    "nodes": "nodes",
    "stop_asked": "stop_asked",
    "promoted_to": "promoted_to",
}
"""Names in the study's journal, mapped to those in `TrialRecord`."""
_ONLY_IF_SET = ("nodes", "stop_asked", "promoted_to")
"""Names that the journal holds only for trials to which they apply."""


def report_attribute(epoch: int, fallbacks: int = 0) -> str:
    """Name under which a study stores the report of an epoch. fallbacks: how often the trial had fallen back before."""
    return f"{_REPORT}{epoch}/{fallbacks}" if fallbacks else f"{_REPORT}{epoch}"


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `reports` are those of epochs 1, 2, ... without a gap."""

    number: int
    params: Mapping[str, Value]
    """Values by dotted path; only the parameters that are active in this configuration."""
    state: TrialState
    stage_count: int
    reports: tuple[EpochReport, ...]
    attempts: int
    """Segments started so far: the first, promotions and resumptions."""
    infeasible: bool
    """True if the configuration cannot be trained (out of memory, NaN). The sampler avoids similar ones."""
    cause: str | None
    """Why it failed, or why it was last interrupted."""
    is_baseline: bool
    stop_after_stage: int | None = None
    """Number of the stage at whose end the latest segment stops; None before the first segment."""
    run_to_end_at: int | None = None
    """Number of trials in the study, without repeats, when this one was run to its end as the best paused one; or
    None."""
    deaths: tuple[int, ...] = ()
    """The trial's fidelity at each death of its process or node."""
    traceback: str | None = None
    """Path of the traceback of its failure, relative to the study's folder."""
    repeats: int | None = None
    """Number of the trial that this one repeats from the start with another seed; None if the search proposed it."""
    fold: int | None = None
    """Number of the fold that validates, EVERY_PHOTO if every photo trains; None for the study's own split."""
    fallbacks: tuple[int, ...] = ()
    """For each loss of checkpoints, the epoch after which the trial continued; 0 if it started again."""
    nodes: tuple[str, ...] = ()
    """On a cluster, the name of each attempt's node, or an empty text if it got none; may end before the last
    attempt."""
    stop_asked: bool = False
    """True once the user has asked to stop it: it ends after its running epoch."""
    promoted_to: int | None = None
    """Number of the stage to whose end the user has sent it, whatever the rungs say; or None."""
    request: str | None = None
    """Id of the request by which the user added it; None if the search proposed it."""

    @classmethod
    def from_attributes(cls, number: int, attributes: Mapping[str, Any]) -> Self:
        """Build a record from stored attributes: `params`, `stage_count`, `is_baseline`, `status`, `report:<epoch>`.

        `repeats`, `fold`, `request` and `fallbacks` may be missing, as in older studies.
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
            request=attributes.get("request"),
            reports=tuple(EpochReport.from_json(attributes[key]) for key in _standing(attributes, fallbacks)),
            **{
                **{name: status[key] for key, name in _STATUS.items() if key in status},
                "state": TrialState(status["state"]),
                "deaths": tuple(status["deaths"]),
                "fallbacks": fallbacks,
                "nodes": tuple(status.get("nodes", ())),
            },
        )

    def status(self) -> dict[str, Any]:
        """All that changes besides the reports, as JSON. It is a single attribute, so that a change is atomic."""
        values = {key: getattr(self, name) for key, name in _STATUS.items()}
        return {key: value for key, value in values.items() if value or key not in _ONLY_IF_SET}

    @property
    def fidelity(self) -> int:
        """Number of epochs trained."""
        return len(self.reports)

    @cached_property
    def is_of_portfolio(self) -> bool:
        """True for a recipe of the portfolio, whose values are not of the search space."""
        return PORTFOLIO in self.params

    @property
    def is_run_to_end(self) -> bool:
        """True once the trial was sent to its last stage as the best one left paused."""
        return self.run_to_end_at is not None

    @property
    def node(self) -> str:
        """Name of the latest attempt's node; empty if it has none yet, or if the search runs on one machine."""
        return self.nodes[-1] if len(self.nodes) == self.attempts and self.nodes else ""

    @property
    def is_cut_off(self) -> bool:
        """True if the trial waits because the search's hours are used up. False for a trial that is run to its end,
        which keeps the cause of an earlier interruption."""
        is_late = self.cause in (OUT_OF_TIME, OUT_OF_WHOLE)
        return self.state is TrialState.WAITING and is_late and not self.is_run_to_end

    @property
    def restarts(self) -> int:
        """Deaths since the last recorded epoch. Deaths with progress between them are not the trial's fault."""
        return sum(fidelity == self.fidelity for fidelity in self.deaths)

    @cached_property
    def trained_s(self) -> float:
        """Seconds that workers spent on its epochs."""
        return trained_s(self.reports)

    @cached_property
    def best(self) -> EpochReport | None:
        """The epoch over all stages whose weights are kept; None without a finite one."""
        return best_report(self.reports)

    @property
    def best_rank(self) -> Rank | None:
        """The trial's value; None without a finite epoch."""
        return self.best.rank if self.best else None

    @cached_property
    def rung(self) -> int | None:
        """Number of the last stage that has ended, or None."""
        return max((report.stage for report in self.reports if report.stage_ended), default=None)

    @property
    def next_stage(self) -> int | None:
        """The stage that the trial is in or would continue with; None after the last."""
        stage = 0 if self.rung is None else self.rung + 1
        return stage if stage < self.stage_count else None

    def has_ended(self, stage: int) -> bool:
        """True once the stage is over, whether as planned or early."""
        return self.rung is not None and self.rung >= stage

    def rung_rank(self, stage: int) -> Rank | None:
        """The value of the epoch that decides within one stage; None without a finite one."""
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
    """Names of the reports that count, in order of epochs. Those beyond an epoch of a later fallback do not."""
    stored = frozenset(attributes)
    names: list[str] = []
    for number, epoch in enumerate((0, *fallbacks)):
        del names[epoch:]
        while (name := report_attribute(len(names) + 1, number)) in stored:
            names.append(name)
    return names


def searched(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that the search proposed, without repeats. Ladder, sampler and trial limit ignore repeats."""
    return [trial for trial in trials if trial.repeats is None]


def trained_s(reports: Iterable[EpochReport]) -> float:
    """Seconds that workers spent on these epochs: building, training and validating."""
    return sum(report.seconds.total for report in reports)
