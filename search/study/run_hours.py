"""A run that must be over, with its submission, within some hours: what it asks for, and what it has spent."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

from search.policy.durations import StageLength, final_training_s
from search.policy.records import TrialRecord, TrialState, trained_s
from search.policy.time_plan import SEARCH, STEPS, Measured, TimePlan, Wishes, time_plan
from search.study.study import Study

_KEY = "whole_run"
_S_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class WholeRun:
    """Stored in the study, so that a resumed run keeps to the same hours."""

    hours: float
    outside_s: float
    """Seconds spent outside of the search: reading photos, and steps after it."""
    folds: int
    is_refitted: bool
    final_ratio: float
    """Epochs of a final training over those of a trial; estimates by it where `final_stages` do not fit the trial."""
    at_once: int
    """Final trainings that run at once."""
    stage: str = SEARCH
    """The step that it is in."""
    stage_weights: tuple[float, ...] = ()
    """Relative seconds of the stages of the default recipe, see `durations.stage_weights`; empty in older studies."""
    is_compared: bool = False
    """Whether the first final training is made twice, with and without extra photos."""
    is_pseudo: bool = False
    """Whether all are made once more with pseudo-labels."""
    final_stages: tuple[StageLength, ...] = ()
    """Of a final training; empty in studies of older versions."""

    @classmethod
    def of(cls, study: Study) -> Self | None:
        """What a study stores, or None if its hours are not limited as a whole."""
        kept = study.get_value(_KEY)
        if not kept:
            return None
        values = json.loads(str(kept))
        stages = tuple(StageLength(**one) for one in values.get("final_stages", ()))
        return cls(**{**values, "stage_weights": tuple(values.get("stage_weights", ())), "final_stages": stages})

    def keep(self, study: Study) -> None:
        """Store it, durably. Raises StudyError if the study is read-only."""
        study.set_value(_KEY, json.dumps(asdict(self)))

    def after(self, seconds: float, stage: str) -> "WholeRun":
        """The run once it has spent more seconds outside of the search, now in another step."""
        return replace(self, outside_s=self.outside_s + seconds, stage=stage)

    def plan(self, records: Sequence[TrialRecord], *, searched_s: float) -> TimePlan:
        """The plan for what is left. searched_s: wall-clock seconds of the search so far, over all runs. Pure."""
        plan = time_plan(
            self.hours * _S_PER_HOUR,
            self.outside_s + searched_s,
            Wishes(
                folds=self.folds,
                is_refitted=self.is_refitted,
                is_compared=self.is_compared,
                is_pseudo=self.is_pseudo,
            ),
            Measured(self._training_s(records), at_once=self.at_once),
            is_searching=self.stage == SEARCH,
        )
        ahead = STEPS[STEPS.index(self.stage) :]
        return replace(plan, phases=tuple(phase for phase in plan.phases if phase.name in ahead))

    def _training_s(self, records: Sequence[TrialRecord]) -> float | None:
        """Of the trial that would win now; None before one is complete."""
        whole = [record for record in records if record.state is TrialState.COMPLETE and record.best_rank]
        best = max(whole, key=lambda record: (record.best_rank, -record.number), default=None)
        if best is None:
            return None
        found = final_training_s(best.reports, self.final_stages) if self.final_stages else None
        return self.final_ratio * trained_s(best.reports) if found is None else found
