"""A run that must be over, with its submission, within some hours: what it asks for, and what it has spent."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean
from typing import Self

from search.policy.durations import StageLength, final_training_s, relative_pace, validation_s
from search.policy.records import TrialRecord, TrialState, trained_s
from search.policy.time_plan import (
    DONE,
    FINAL,
    SEARCH,
    STEPS,
    Begun,
    Measured,
    TimePlan,
    Wishes,
    folds_beside,
    time_plan,
    with_begun,
    with_trainings_beside,
)
from search.study.folder import StudyFolder
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
    has_other: bool = False
    """Whether a trial of another backbone may be trained beside the winner: before the search's end, whether the file
    has several."""
    counted: tuple[str, ...] = ()
    """Folders of the final trainings that are over, whose seconds `outside_s` has."""
    train_share: float | None = None
    """Share of the labelled photos that the search trains on; None in studies of older versions."""
    pseudo_share: float = 0.0
    """Photos that may get pseudo-labels, over the labelled ones; 0 in studies of older versions."""
    to_predict: int | None = None
    """Photos of the submission; None in studies of older versions, whose scoring has a share of the hours."""
    validation_photos: int = 0
    """Of the search's split."""
    views: int = 1
    """Views that a prediction may average."""
    core_share: float = 1.0
    """Share of a machine's cores that a trial has, where a prediction has all; 1 on GPUs."""
    predicted_s: tuple[float, ...] = ()
    """Seconds a photo of the final models so far, with all views in use."""
    uses_ensemble: bool = True
    """Once that step is over: whether the ensemble is submitted. Older versions submitted any that was there."""

    @classmethod
    def of(cls, study: Study) -> Self | None:
        """What a study stores, or None if its hours are not limited as a whole."""
        kept = study.get_value(_KEY)
        if not kept:
            return None
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in json.loads(str(kept)).items() if name in names}
        stages = tuple(StageLength(**one) for one in values.get("final_stages", ()))
        tuples = {name: tuple(values.get(name, ())) for name in ("stage_weights", "counted", "predicted_s")}
        return cls(**{**values, **tuples, "final_stages": stages})

    def keep(self, study: Study) -> None:
        """Store it, durably. Raises StudyError if the study is read-only."""
        study.set_value(_KEY, json.dumps(asdict(self)))

    def after(self, seconds: float, stage: str) -> "WholeRun":
        """The run once it has spent more seconds outside of the search, now in another step."""
        return replace(self, outside_s=self.outside_s + seconds, stage=stage)

    @property
    def is_done(self) -> bool:
        """Whether its submission is written."""
        return self.stage == DONE

    def after_final(self, seconds: float, final: str, *, predicted_s: float | None = None) -> "WholeRun":
        """The run after a final training. final: name of its folder. predicted_s: see the field; None if unknown."""
        predicted = self.predicted_s if predicted_s is None else (*self.predicted_s, predicted_s)
        return replace(self.after(seconds, self.stage), counted=(*self.counted, final), predicted_s=predicted)

    def plan(
        self,
        records: Sequence[TrialRecord],
        *,
        searched_s: float,
        search_hours: float | None = None,
        begun: Begun | None = None,
    ) -> TimePlan:
        """The plan for what is left. Pure.

        searched_s: wall-clock seconds of the search so far, over all runs. search_hours: the experiment's
        `search.budget.hours`, beyond which the search does not go; None without that limit. It may change between two
        calls, so the study does not store it here. begun: the study's own final training, if an earlier call began it.
        """
        measured = self._measured(records, self._training_s(records))
        plan = time_plan(
            self.hours * _S_PER_HOUR,
            self.outside_s + searched_s,
            self._wishes,
            measured,
            is_searching=self.stage == SEARCH,
            has_final=bool(self.counted or begun) or STEPS.index(self.stage) > STEPS.index(FINAL),
            most_search_s=None if search_hours is None else search_hours * _S_PER_HOUR - searched_s,
        )
        if begun is not None:
            plan = with_begun(plan, begun, self._wishes, measured)
        if self.counted and self.stage == FINAL:
            plan = with_trainings_beside(plan)
        ahead = STEPS[STEPS.index(self.stage) :]
        return replace(plan, phases=tuple(phase for phase in plan.phases if phase.name in ahead))

    def folds_beside(
        self,
        records: Sequence[TrialRecord],
        number: int,
        *,
        own: int,
        searched_s: float,
        pace: float,
        left: float,
        begun: int = 0,
    ) -> int:
        """Folds of a final training of trial `number` that fit beside the study's own; 0 if it is not worth it. Pure.

        own: trial of the study's own final training. pace: of that training, seconds taken over those estimated, both
        on the search's split. left: share of the other one that is to train. begun: its folds, if it was begun.
        """
        trial = records[number]
        if trial.state is TrialState.COMPLETE:
            estimated_s = self.estimated_s(trial)
        else:
            is_resized = any(stage.area_px is not None for stage in self.final_stages)
            times = relative_pace(trial.reports, records[own].reports, per_pixel=is_resized)
            estimated_s = times * self.estimated_s(records[own])
        measured = self._measured(records, left * pace * estimated_s)
        return folds_beside(self.plan(records, searched_s=searched_s), self._wishes, measured, begun=begun)

    def _measured(self, records: Sequence[TrialRecord], training_s: float | None) -> Measured:
        return Measured(
            training_s,
            at_once=self.at_once,
            train_share=self.train_share,
            scoring_s=self._scoring_s(records),
            has_predicted=bool(self.predicted_s),
            pseudo_share=self.pseudo_share,
        )

    def _scoring_s(self, records: Sequence[TrialRecord]) -> float | None:
        """Of the photos of the submission, by the final models so far, with room for one more while it may follow.

        Before there is one, by what the trial that would win now took to validate a photo. Then as many models predict
        as the file has folds, twice as many with another backbone, with all views.
        """
        if self.to_predict is None:
            return None
        if self.predicted_s:
            models = len(self.predicted_s)
            if self.has_other and self.stage == FINAL:
                models += 1
            return self.to_predict * models * fmean(self.predicted_s)
        best = _best(records)
        seconds = None if best is None else validation_s(best.reports, self.final_stages)
        if seconds is None or not self.validation_photos:
            return None
        models = 1 if self.is_refitted else self.folds * (2 if self.has_other else 1)
        photo_s = self.core_share * seconds / self.validation_photos
        return self.to_predict * models * self.views * photo_s

    @property
    def _wishes(self) -> Wishes:
        return Wishes(
            folds=self.folds,
            has_other=self.has_other,
            is_refitted=self.is_refitted,
            is_compared=self.is_compared,
            is_pseudo=self.is_pseudo,
        )

    def _training_s(self, records: Sequence[TrialRecord]) -> float | None:
        """Of the trial that would win now; None before one is complete."""
        best = _best(records)
        return None if best is None else self.estimated_s(best)

    def estimated_s(self, record: TrialRecord) -> float:
        """Seconds of a final training of a trial that is complete."""
        found = final_training_s(record.reports, self.final_stages) if self.final_stages else None
        return self.final_ratio * trained_s(record.reports) if found is None else found


def _best(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The trial that would win now; None before one is complete."""
    whole = [record for record in records if record.state is TrialState.COMPLETE and record.best_rank]
    return max(whole, key=lambda record: (record.best_rank, -record.number), default=None)


def command_of(folder: StudyFolder, study: Study) -> str | None:
    """The command that goes on with a whole run; None if there is none, or if it is done.

    It names the study's own copy of the file, since the user's may have been on another machine.
    """
    whole = WholeRun.of(study)
    if whole is None or whole.is_done:
        return None
    return f"carsearch run {shlex.quote(str(folder.experiment))} --hours {whole.hours:g} --or-resume"
