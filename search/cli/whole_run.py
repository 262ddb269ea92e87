"""`carsearch run --hours H`: from photos to a submission within H hours, by a plan that is revised on the way."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.actions import check_cluster_access, open_study, resume_search, run_retrain, run_submit, winner_of
from search.cli.output import Output
from search.terminal.console import say

if TYPE_CHECKING:
    from carcls.config import TrainConfig
    from search.experiment.experiment import Experiment
    from search.policy.durations import StageLength
    from search.policy.time_plan import TimePlan
    from search.study.folder import StudyFolder
    from search.study.run_hours import WholeRun

_ENOUGH_TO_PLACE = 20
"""Final trainings for which the number that run at once is asked; more would change nothing."""


def run_within(
    experiment: "Experiment",
    hours: float,
    *,
    address: str | None,
    replace_study: bool,
    or_resume: bool,
    output: Output = Output.PEOPLE,
) -> None:
    """Searches, trains, ensembles and submits within `hours`, counted over all calls for one study.

    A later call with `or_resume` continues in the step that was interrupted, with what is left of the hours.
    """
    from search.driver.create import create_study, study_of
    from search.policy.time_plan import SEARCH
    from search.study.frozen import changes_asked

    started = time.monotonic()
    there = study_of(experiment) if or_resume else None
    changes = [] if there is None else list(changes_asked(there, experiment))
    if there is None:
        check_cluster_access(address)
        there = create_study(experiment, replace=replace_study)
    folder, frozen = open_study(there.root)
    whole = _begun(folder, frozen, hours, started=started)
    _show(_plan(folder, whole))
    if whole.stage == SEARCH:
        began, before_s = time.monotonic(), _searched_s(folder)
        resume_search(folder.root, changes, address, output, goes_on=True)
        # What the search does not count itself: joining the cluster, checking weights, writing the report.
        _enter(folder, time.monotonic() - began - (_searched_s(folder) - before_s), SEARCH)
    _finish(folder, open_study(folder.root)[1], address)


def _begun(folder: "StudyFolder", experiment: "Experiment", hours: float, *, started: float) -> "WholeRun":
    """What the study stores of the run, or a new entry, with these hours and the time since `started`."""
    from search.driver.nodes.slots import slots_for
    from search.on_ray.ray_private import usable_cpus, usable_gpus
    from search.policy.durations import stage_weights
    from search.study.run_hours import WholeRun
    from search.study.study import Study

    with Study.open(folder.root) as study:
        whole = WholeRun.of(study)
        if whole is None:
            first = experiment.bind(experiment.baseline)
            slots = slots_for(
                _ENOUGH_TO_PLACE,
                cores=usable_cpus(),
                gpus=usable_gpus(),
                cpus_per_trial=experiment.search.resources.cpus_per_trial,
            )
            whole = WholeRun(
                hours=hours,
                outside_s=0.0,
                folds=experiment.folds,
                is_refitted=experiment.photos == "all",
                final_ratio=experiment.retrain_config(first).total_epochs / first.total_epochs,
                at_once=len(slots.gpus),
                is_compared=experiment.data.extra is not None,
                is_pseudo=experiment.data.pseudo is not None,
                final_stages=_final_stages(experiment, first),
                stage_weights=stage_weights(first),
            )
        if hours > whole.hours:
            study.set_budget_exhausted(False)
        whole = replace(whole, hours=hours).after(time.monotonic() - started, whole.stage)
        whole.keep(study)
    return whole


def _final_stages(experiment: "Experiment", first: "TrainConfig") -> "tuple[StageLength, ...]":
    """The stages of a final training. first: the baseline's configuration."""
    from carcls.frames import frame_of
    from search.policy.durations import StageLength

    final, is_resized = experiment.retrain_config(first), "image_size" in experiment.retrain
    return tuple(
        StageLength(
            epochs=stage.epochs,
            is_frozen=not stage.unfreeze,
            area_px=frame_of(final.stage_size(number)).area if is_resized else None,
        )
        for number, stage in enumerate(final.stages)
    )


def _finish(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """The steps after the search, each recorded once it is over."""
    from search.policy.time_plan import DONE, ENSEMBLE, FINAL, SCORING, SEARCH

    stage = _stored(folder).stage
    if stage == DONE:
        say(f"{folder.root} is finished; '--replace' starts over")
        return
    if stage == SEARCH:
        stage = _enter(folder, 0.0, FINAL)
    if stage == FINAL:
        started, earlier_s = time.monotonic(), _retrained_s(folder)
        _retrain(folder, experiment, address, earlier_s=earlier_s)
        stage = _enter(folder, earlier_s + time.monotonic() - started, ENSEMBLE)
    model = _ensemble(folder, experiment) if stage == ENSEMBLE else _model(folder)
    if stage == ENSEMBLE:
        _enter(folder, 0.0, SCORING)
    started = time.monotonic()
    _submit(folder, experiment, model)
    _enter(folder, time.monotonic() - started, DONE)
    plan = _plan(folder, _stored(folder))
    say(f"ended: {plan.spent_s / 60:.1f} of {plan.total_s / 60:.1f} min")


def _retrain(folder: "StudyFolder", experiment: "Experiment", address: str | None, *, earlier_s: float) -> None:
    """The final training with as many folds as fit; none if not even one fits."""
    from search.final.final_study import is_refit_alone

    begun = _folds_begun(folder)
    plan = _plan(folder, _stored(folder).after(earlier_s, _stored(folder).stage))
    folds = begun or plan.folds
    _show(plan)
    if folds:
        final = replace(experiment, folds=folds)
        if is_refit_alone(final) and experiment.retrain:  # the search's trial cannot tell its length
            final = replace(final, photos="train")
        run_retrain(folder, final, trial=winner_of(folder, None), address=address, goes_on=True)


def _ensemble(folder: "StudyFolder", experiment: "Experiment") -> Path | None:
    """The ensemble's model if it is kept, or if there is no other; None for the final one."""
    from search.errors import StudyError
    from search.policy.time_plan import ENSEMBLE

    plan, has_final = _plan(folder, _stored(folder)), folder.model.exists()
    if has_final and (experiment.photos == "all" or plan.seconds(ENSEMBLE) <= 0.0):
        why = "the final model has seen all photos" if experiment.photos == "all" else "no time is left for it"
        say(f"no ensemble: {why}")
        return None
    from search.cli.actions import run_ensemble

    started = time.monotonic()
    try:
        run_ensemble(folder, experiment, most=5, max_ms=None, or_single=not has_final, goes_on=True)
    except StudyError as error:
        if not has_final:
            raise
        say(f"no ensemble: {error}")
    _enter(folder, time.monotonic() - started, ENSEMBLE)
    return _model(folder)


def _model(folder: "StudyFolder") -> Path | None:
    return folder.ensemble_model if folder.ensemble_model.exists() else None


def _submit(folder: "StudyFolder", experiment: "Experiment", model: Path | None) -> None:
    from carcls.dataset.layouts import find_test_folder

    if find_test_folder(experiment.data.root, experiment.data.layout) is not None:
        run_submit(folder, experiment, model=model)
    else:
        say(f"model: {model or folder.model}")
        say(f"next: carsearch predict {model or folder.model} PHOTO_OR_FOLDER...")


def _stored(folder: "StudyFolder") -> "WholeRun":
    from search.errors import StudyError
    from search.study.run_hours import WholeRun
    from search.study.study import Study

    whole = WholeRun.of(Study.open(folder.root, read_only=True))
    if whole is None:
        raise StudyError(f"{folder.root} has no hours: give them with 'carsearch run FILE --hours H --or-resume'")
    return whole


def _enter(folder: "StudyFolder", seconds: float, stage: str) -> str:
    """Records the seconds that a step took, and the step that follows."""
    from search.study.study import Study

    whole = _stored(folder).after(seconds, stage)
    with Study.open(folder.root) as study:
        whole.keep(study)
    return stage


def _plan(folder: "StudyFolder", whole: "WholeRun") -> "TimePlan":
    from search.study.study import Study

    study = Study.open(folder.root, read_only=True)
    return whole.plan(study.records(), searched_s=study.elapsed_s)


def _show(plan: "TimePlan") -> None:
    from search.policy.time_plan import plan_lines

    for line in plan_lines(plan):
        say(line)


def _searched_s(folder: "StudyFolder") -> float:
    from search.study.study import Study

    return Study.open(folder.root, read_only=True).elapsed_s


def _retrained_s(folder: "StudyFolder") -> float:
    """Seconds of final trainings of earlier calls that did not end."""
    from search.study.study import Study

    own = folder.retrain_study
    return Study.open(own.root, read_only=True).elapsed_s if own.log.exists() else 0.0


def _folds_begun(folder: "StudyFolder") -> int:
    """Folds of a final training that an earlier call began; 0 if none did."""
    from search.study.final_members import fold_count
    from search.study.study import Study

    own = folder.retrain_study
    return max(1, fold_count(Study.open(own.root, read_only=True))) if own.log.exists() else 0
