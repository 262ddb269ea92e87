"""A run that must be over, with its submission, within some hours: what it asks for, and what it has spent."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from search.policy.durations import StageLength, final_training_s, relative_pace, validation_s
from search.policy.records import TrialRecord, TrialState, trained_s
from search.policy.step_times import Measured, Wishes
from search.policy.time_plan import (
    DONE,
    FINAL,
    SEARCH,
    STEPS,
    Begun,
    TimePlan,
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
class Pace:
    """How fast a final model predicts, as its scoring has measured."""

    photo_s: float
    """Seconds a photo, with the views in use."""
    models: int
    """How many it averages."""


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
    """Folders of the final trainings that are over or given up, whose seconds `outside_s` has."""
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
    core_share: float | None = None
    """Share of a machine's cores that a trial has, where a prediction has all; 1 on GPUs. None on a cluster, whose pace
    says nothing of the machine that predicts."""
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
        tuples = {name: tuple(values.get(name, ())) for name in ("stage_weights", "counted")}
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

    def after_final(self, seconds: float, final: str) -> "WholeRun":
        """The run after a final training that is over or given up. final: name of its folder."""
        return replace(self.after(seconds, self.stage), counted=tuple(dict.fromkeys((*self.counted, final))))

    def plan(
        self,
        records: Sequence[TrialRecord],
        *,
        searched_s: float,
        search_hours: float | None = None,
        begun: Begun | None = None,
        paces: Sequence[Pace] = (),
    ) -> TimePlan:
        """The plan for what is left. Pure.

        searched_s: wall-clock seconds of the search so far, over all runs. search_hours: the experiment's
        `search.budget.hours`, beyond which the search does not go; None without that limit. It may change between two
        calls, so the study does not store it here. begun: the study's own final training, if an earlier call began it.
        paces: of the final models that are there.
        """
        measured = self._measured(records, self._training_s(records), paces)
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
        paces: Sequence[Pace] = (),
    ) -> int:
        """Folds of a final training of trial `number` that fit beside the study's own; 0 if it is not worth it. Pure.

        own: trial of the study's own final training. pace: of that training, seconds taken over those estimated, both
        on the search's split. left: share of the other one that is to train. begun: its folds, if it was begun. paces:
        of the final models that are there.
        """
        trial = records[number]
        if trial.state is TrialState.COMPLETE:
            estimated_s = self.estimated_s(trial)
        else:
            is_resized = any(stage.area_px is not None for stage in self.final_stages)
            times = relative_pace(trial.reports, records[own].reports, per_pixel=is_resized)
            estimated_s = times * self.estimated_s(records[own])
        measured = self._measured(records, left * pace * estimated_s, paces)
        plan = self.plan(records, searched_s=searched_s, paces=paces)
        return folds_beside(plan, self._wishes, measured, begun=begun)

    def _measured(self, records: Sequence[TrialRecord], training_s: float | None, paces: Sequence[Pace]) -> Measured:
        is_known = bool(paces) and self.to_predict is not None
        return Measured(
            training_s,
            at_once=self.at_once,
            train_share=self.train_share,
            model_s=self._model_s(records, paces),
            predicted_s=(self.to_predict or 0) * sum(pace.photo_s for pace in paces) if is_known else None,
            pseudo_share=self.pseudo_share,
        )

    def _model_s(self, records: Sequence[TrialRecord], paces: Sequence[Pace]) -> float | None:
        """Seconds that one model takes to predict the photos of the submission, by the final models that are there.

        Without any, by what the trial that would win now took to validate a photo, with all views.
        """
        if self.to_predict is None:
            return None
        if paces:
            return self.to_predict * sum(pace.photo_s for pace in paces) / sum(pace.models for pace in paces)
        best = _best(records) if self.stage in (SEARCH, FINAL) else None
        seconds = None if best is None else validation_s(best.reports, self.final_stages)
        if seconds is None or self.core_share is None or not self.validation_photos:
            return None
        return self.to_predict * self.views * self.core_share * seconds / self.validation_photos

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
