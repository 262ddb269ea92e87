"""How much of its budget a search has used, and what must end because of that."""

import time
from collections.abc import Callable, Sequence

from carcls.events import EpochReport
from search.experiment.search_settings import SearchSettings
from search.policy.budget import is_used_up
from search.policy.finals import due_share
from search.policy.records import OUT_OF_TIME, OUT_OF_WHOLE, searched, trained_s
from search.policy.scheduler import BudgetState
from search.policy.time_plan import SEARCH
from search.study.run_hours import WholeRun
from search.study.study import Study
from search.terminal.logs import get_logger

_log = get_logger(__name__)
_S_PER_HOUR = 3600


class BudgetUse:
    """Owns the clock of one study over all its runs. Not thread-safe.

    The search leaves the finals the hours that they will take at the pace so far, up to a maximum share.
    """

    def __init__(
        self, study: Study, settings: SearchSettings, *, gpu_share: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """gpu_share: share of one GPU that each trial has from now on; 0 without a GPU. Raises StudyError."""
        self._study = study
        self._settings = settings
        self._clock_s = clock_s
        self._started_s = clock_s()
        self._elapsed_before_s = study.elapsed_s
        self._logged = False
        whole = WholeRun.of(study)
        # Once its search is over, a whole run's hours are for what follows. A search that is continued has its own.
        self._whole = whole if whole is not None and whole.stage == SEARCH else None
        study.set_gpu_meter(study.gpu_meter.with_share(gpu_share, self._study.trained_s))

    def elapsed_s(self) -> float:
        """Wall-clock seconds of this study over all its runs."""
        return self._elapsed_before_s + self._clock_s() - self._started_s

    def save(self) -> None:
        """Store the clock in the study."""
        self._study.set_elapsed_s(self.elapsed_s())

    def lost(self, reports: Sequence[EpochReport]) -> None:
        """Account for epochs that were just dropped and will be trained again. Their GPU time stays spent."""
        self._study.set_gpu_meter(self._study.gpu_meter.with_lost(trained_s(reports)))

    def budget(self) -> BudgetState:
        """What is left of the budget. The study records exhaustion, and an exhausted budget stays so."""
        records, study = self._study.records(), self._study
        finals_exhausted = study.finals_exhausted or self._hours_are_over(0.0) or self._gpu_hours_are_over(0.0)
        reserve = self._reserve()
        over = self._hours_are_over(reserve) or self._gpu_hours_are_over(reserve)
        left, finals_left = self._left_s(reserve), self._left_s(0.0)
        exhausted = finals_exhausted or study.budget_exhausted or over
        if (exhausted, finals_exhausted) != (study.budget_exhausted, study.finals_exhausted):
            study.set_budget_exhausted(finals=finals_exhausted, by=self._exhausted_by(reserve))
        trials_left = max(0, self._settings.trials - len(searched(records)))
        return BudgetState(
            trials_left,
            exhausted=exhausted,
            finals_exhausted=finals_exhausted,
            left_s=left,
            finals_left_s=finals_left,
            stage_weights=() if self._whole is None else self._whole.stage_weights,
        )

    def is_out_of_time(self, number: int) -> bool:
        """True if a running trial should stop after the epoch it has just reported, because `hours` are used up.

        Logs this once and records it in the study. The baseline and the trial that is run to its end as the best one
        left always finish, since they make the search worth its time. So a search exceeds its hours by these two
        trainings and one epoch of every other trial at most. GPU-hours are a price rather than a deadline: running
        trials continue to their rung.
        """
        record = self._study.record(number)
        if self._settings.budget.hours is None and self._whole is None:
            return False
        if record.is_baseline or record.is_run_to_end or record.has_ended(record.stop_after_stage or 0):
            return False
        if not self._hours_are_over(0.0 if record.repeats is not None else self._reserve()):
            return False
        self.budget()
        if not self._logged:
            self._logged = True
            _log.info("%s: running trials stop after their current epoch", self._why_over())
        return True

    def late_cause(self) -> str:
        """Cause of a trial that `is_out_of_time`."""
        return OUT_OF_TIME if self._ended_whole() is None else OUT_OF_WHOLE

    def _reserve(self) -> float:
        return due_share(self._study.records(), self._settings.finalists, trained_s=self._study.trained_s)

    def _why_over(self) -> str:
        if (whole := self._ended_whole()) is not None:
            return f"the search's part of --hours {whole.hours:g} is used up"
        return f"search.budget.hours ({self._settings.budget.hours:g}) are used up"

    def _ended_whole(self) -> WholeRun | None:
        """Once hours are over: the whole run whose part they are; None if they are the search's own."""
        hours = self.elapsed_s() / _S_PER_HOUR
        return None if is_used_up(hours, self._settings.budget.hours, self._reserve()) else self._whole

    def _exhausted_by(self, reserve: float) -> float:
        """Once a budget is used up: a whole run's hours, or 0 if it is one of `search.budget`."""
        whole = None if self._gpu_hours_are_over(reserve) else self._ended_whole()
        return 0.0 if whole is None else whole.hours

    def _left_s(self, reserve: float) -> float | None:
        """Seconds that the search has left of a whole run's hours; None without them."""
        if self._whole is None:
            return None
        elapsed = self.elapsed_s()
        limit = self._settings.budget.hours
        plan = self._whole.plan(self._study.records(), searched_s=elapsed, search_hours=limit)
        return plan.seconds(SEARCH) - min(reserve * elapsed, 0.5 * plan.seconds(SEARCH))

    def _hours_are_over(self, reserve: float) -> bool:
        left = self._left_s(reserve)
        if left is not None and left <= 0.0:
            return True
        return is_used_up(self.elapsed_s() / _S_PER_HOUR, self._settings.budget.hours, reserve)

    def _gpu_hours_are_over(self, reserve: float) -> bool:
        used_s = self._study.gpu_meter.used_s(self._study.trained_s)
        return is_used_up(used_s / _S_PER_HOUR, self._settings.budget.gpu_hours, reserve)
