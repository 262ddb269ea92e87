"""`carsearch run --hours H`: from photos to a submission within H hours, by a plan that is revised on the way."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli.actions import check_cluster_access, open_study, resume_search, run_submit
from search.cli.optional_steps import optional, reason_of
from search.cli.output import Output
from search.cli.whole_run_finals import has_seen_all_photos, retrain_others, retrain_winner, score_again_if_damaged
from search.cli.whole_run_photos import with_photos, with_predictions
from search.cli.whole_run_record import choose_model, enter_step, plan_of, show_plan, stored_run
from search.terminal.console import say, warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carcls.config import TrainConfig
    from search.experiment.changes import Change
    from search.experiment.experiment import Experiment
    from search.policy.durations import StageLength
    from search.study.folder import StudyFolder
    from search.study.run_hours import WholeRun

_ENOUGH_TO_PLACE = 20
"""Final trainings for which the number that run at once is asked; more would change nothing."""
_ENOUGH_TO_DRAW = 32
"""Samples that show whether a search has several backbones; one in four is missed once in ten thousand times."""


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

    A later call with `or_resume` continues in the step that was interrupted, with what is left of the hours. The study
    keeps what the file has changed since only while it searches. Later steps use it as `retrain --set` does.
    """
    from search.driver.create import create_study, study_of
    from search.experiment.changes import RESUMABLE, differences
    from search.policy.time_plan import SEARCH
    from search.study.frozen import changes_asked

    started = time.monotonic()
    there = study_of(experiment) if or_resume else None
    changes = [] if there is None else list(changes_asked(there, experiment))
    if there is None:
        check_cluster_access(address)
        there = create_study(experiment, replace=replace_study)
    folder, asked = open_study(there.root, changes, changeable=RESUMABLE)
    whole = _begun(folder, asked, hours, address, started=started)
    show_plan(plan_of(folder, whole, asked))
    if whole.stage == SEARCH:
        began, before_s = time.monotonic(), _searched_s(folder)
        resume_search(folder.root, changes, address, output, goes_on=True)
        # What the search does not count itself: joining the cluster, checking weights, writing the report.
        enter_step(folder, time.monotonic() - began - (_searched_s(folder) - before_s), SEARCH)
    else:
        for change in _unused(differences(open_study(folder.root)[1].tree, asked.tree), whole.stage):
            say(f"not used any more: {change}; the search is over, and no step that is left depends on it")
    _finish(folder, asked, address)


def _unused(changes: "Sequence[Change]", stage: str) -> "tuple[Change, ...]":
    """Changes that no step uses from `stage` on, which follows the search. Pure."""
    from search.experiment.changes import SEARCH_ONLY, covered
    from search.policy.time_plan import DONE, FINAL

    if stage == FINAL:
        return covered(changes, SEARCH_ONLY)
    used = () if stage == DONE else covered(changes, ("store",))
    return tuple(change for change in changes if change not in used)


def _begun(
    folder: "StudyFolder", experiment: "Experiment", hours: float, address: str | None, *, started: float
) -> "WholeRun":
    """What the study stores of the run, or a new entry, with these hours and the time since `started`.

    Without a trial to retrain, the run goes back to its search.
    """
    from search.policy.durations import stage_weights
    from search.policy.records import TrialState
    from search.policy.time_plan import FINAL, SEARCH
    from search.study.run_hours import WholeRun
    from search.study.study import Study

    before = WholeRun.of(Study.open(folder.root, read_only=True))
    is_trained = before is not None and before.stage not in (SEARCH, FINAL)  # then no cluster is needed any more
    at_once = before.at_once if before is not None and is_trained else _finals_at_once(experiment, address)
    with Study.open(folder.root) as study:
        whole = WholeRun.of(study)
        if whole is None:
            first = experiment.bind(experiment.baseline)
            whole = WholeRun(
                hours=hours,
                outside_s=0.0,
                folds=experiment.folds,
                is_refitted=experiment.photos == "all",
                final_ratio=experiment.retrain_config(first).total_epochs / first.total_epochs,
                at_once=at_once,
                is_compared=experiment.data.extra is not None,
                is_pseudo=experiment.data.pseudo is not None,
                final_stages=_final_stages(experiment, first),
                stage_weights=stage_weights(first),
                has_other=_has_backbones(experiment),
            )
        has_whole = any(record.state is TrialState.COMPLETE for record in study.records())
        stage = whole.stage
        if stage == FINAL and not has_whole:
            stage, whole = SEARCH, replace(whole, has_other=_has_backbones(experiment))
            study.reopen()
        if stage == SEARCH and hours > whole.hours:
            study.set_budget_exhausted(False)
        whole = replace(whole, hours=hours, at_once=at_once)
        whole = with_predictions(with_photos(whole, folder, experiment), experiment, is_here=address is None)
        whole = whole.after(time.monotonic() - started, stage)
        whole.keep(study)
    return whole


def _finals_at_once(experiment: "Experiment", address: str | None) -> int:
    """Final trainings that run at once, on this machine or on what the cluster at `address` has now.

    Raises ClusterError if there is no such cluster.
    """
    if address is not None:
        from search.errors import ClusterError
        from search.on_ray.cluster.ray_place import plan
        from search.on_ray.connection import connected

        with connected(address) as nodes:
            try:
                return min(plan(experiment, nodes).concurrent, _ENOUGH_TO_PLACE)
            except ClusterError:  # nodes may still come
                return 1
    from search.final.final_slots import final_slots

    return len(final_slots(experiment, _ENOUGH_TO_PLACE).gpus)


def _has_backbones(experiment: "Experiment") -> bool:
    """Whether the search draws several backbones."""
    import numpy as np

    random = np.random.default_rng(experiment.search.seed)
    drawn = [experiment.bind(experiment.space.sample(random)) for _ in range(_ENOUGH_TO_DRAW)]
    return len({(config.backbone, config.alpha) for config in drawn}) > 1


def _final_stages(experiment: "Experiment", first: "TrainConfig") -> "tuple[StageLength, ...]":
    """The stages of a final training. first: the baseline's configuration."""
    from carcls.frames import frame_of
    from search.policy.durations import StageLength

    final, is_resized = experiment.retrain_config(first), "image_size" in experiment.retrain
    changed = experiment.retrain.get("stages", {})
    fixed = {stage.name for stage in final.stages} if isinstance(changed, list) else _with_epochs(changed)
    return tuple(
        StageLength(
            epochs=stage.epochs if stage.name in fixed else None,
            is_frozen=not stage.unfreeze,
            area_px=frame_of(final.stage_size(number)).area if is_resized else None,
            paced_by=_paced_by(stage.unfreeze, number, first),
        )
        for number, stage in enumerate(final.stages)
    )


def _paced_by(unfreeze: float, number: int, first: "TrainConfig") -> int | None:
    """The stage of a trial that trains as many blocks as the final training's stage of this number, if another one."""
    if number < len(first.stages) and first.stages[number].unfreeze == unfreeze:
        return None
    alike = (place for place, stage in enumerate(first.stages) if stage.unfreeze == unfreeze)
    return next(alike, None)


def _with_epochs(stages: "Mapping[str, Any]") -> set[str]:
    """Names of the stages of `retrain` that set their number of epochs."""
    return {name for name, changes in stages.items() if "epochs" in changes}


def _finish(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """The steps after the search, each recorded once it is over."""
    from search.policy.time_plan import DONE, ENSEMBLE, FINAL, SCORING, SEARCH

    stage = stored_run(folder).stage
    if stage == DONE:
        say(f"{folder.root} is finished; '--replace' starts over")
        return
    if stage == SEARCH:
        stage = enter_step(folder, 0.0, FINAL)
        _keep_other(folder, experiment)
    if stage == FINAL:
        retrain_winner(folder, experiment, address)
        retrain_others(folder, experiment, address)
        stage = enter_step(folder, 0.0, ENSEMBLE)
    if stage == ENSEMBLE:
        score_again_if_damaged(folder, experiment, address)
        uses_ensemble = _ensemble(folder, experiment)
        choose_model(folder, uses_ensemble=uses_ensemble)
        enter_step(folder, 0.0, SCORING)
    started = time.monotonic()
    is_there = folder.ensemble_model.exists()
    _submit(folder, experiment, folder.ensemble_model if stored_run(folder).uses_ensemble and is_there else None)
    enter_step(folder, time.monotonic() - started, DONE)
    _report(folder, experiment)
    plan = plan_of(folder, stored_run(folder), experiment)
    say(f"ended: {plan.spent_s / 60:.1f} of {plan.total_s / 60:.1f} min")


def _ensemble(folder: "StudyFolder", experiment: "Experiment") -> bool:
    """Builds the ensemble. Returns whether it is submitted: if it is kept, or if there is no final model."""
    from search.errors import StudyError
    from search.policy.time_plan import ENSEMBLE

    plan, has_final = plan_of(folder, stored_run(folder), experiment), folder.model.exists()
    has_seen_all = has_seen_all_photos(folder)
    if has_final and (has_seen_all or plan.seconds(ENSEMBLE) <= 0.0):
        why = "the final model has seen all photos" if has_seen_all else "no time is left for it"
        say(f"no ensemble: {why}")
        return False
    from search.cli.actions import run_ensemble

    def tell(error: Exception) -> None:
        show = say if isinstance(error, StudyError) else warn  # a study that has nothing to average is no failure
        show(f"no ensemble: {reason_of(error)}")

    started, is_built = time.monotonic(), False
    with optional(tell) if has_final else nullcontext():
        run_ensemble(folder, experiment, most=5, max_ms=None, or_single=not has_final, goes_on=True)
        is_built = True
    enter_step(folder, time.monotonic() - started, ENSEMBLE)
    return is_built and folder.ensemble_model.exists()


def _report(folder: "StudyFolder", experiment: "Experiment") -> None:
    """Writes the report of a run that is done. Nothing that it finds may take the submission back."""
    from search.api.steps import write_report_or_warn
    from search.policy.time_plan import DONE

    started = time.monotonic()
    with optional(lambda error: warn(f"the report is not written anew: {reason_of(error)}")):
        write_report_or_warn(folder, experiment)
    enter_step(folder, time.monotonic() - started, DONE)


def _submit(folder: "StudyFolder", experiment: "Experiment", model: Path | None) -> None:
    from carcls.dataset.unlabelled import asks_for_submission
    from search.experiment.node_store import photos_folder

    photos = photos_folder(experiment.photos_at, experiment.store)  # a URL's may not be on this machine yet
    if asks_for_submission(photos, experiment.data.layout):
        run_submit(folder, experiment, model=model)
    else:
        say(f"model: {model or folder.model}")
        say(f"next: carsearch predict {model or folder.model} PHOTO_OR_FOLDER...")


def _keep_other(folder: "StudyFolder", experiment: "Experiment") -> None:
    """Records whether a trial of another backbone may be trained beside the winner."""
    from search.errors import StudyError
    from search.final.runners_up import other_backbone
    from search.progress.summary import winner
    from search.study.study import Study

    whole = stored_run(folder)
    with Study.open(folder.root) as study:
        try:
            other = other_backbone(study, experiment, winner(study.records()).number)
        except StudyError:  # no trial is whole, so none is trained
            other = None
        replace(whole, has_other=other is not None).keep(study)


def _searched_s(folder: "StudyFolder") -> float:
    from search.study.study import Study

    return Study.open(folder.root, read_only=True).elapsed_s
