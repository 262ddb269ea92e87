"""The final trainings of `carsearch run --hours`: the winner's, then others beside it while there is time."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from search.cli.actions import run_retrain, winner_of
from search.cli.optional_steps import optional, reason_of
from search.cli.whole_run_record import count_final, plan_of, show_plan, stored_run
from search.terminal.console import say, warn
from search.terminal.continuing import OR_RESUME

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.study.folder import StudyFolder


def retrain_winner(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """The final training with as many folds as fit; none if not even one fits."""
    from search.study.begun_final import folds_begun, retrained_s

    whole = stored_run(folder)
    is_counted = folder.final in whole.counted
    if is_counted and not _has_damaged_scores(folder):
        return
    started, earlier_s = time.monotonic(), 0.0 if is_counted else retrained_s(folder)
    begun = folds_begun(folder)
    plan = plan_of(folder, whole, experiment)
    show_plan(plan)
    folds = begun or possible_folds(folder, experiment, plan.folds)
    if folds:
        trial = winner_of(folder, None)
        final = _possible_photos(folder, replace(experiment, folds=folds), trial)
        run_retrain(folder, final, trial=trial, address=address, goes_on=True, again=OR_RESUME)
    count_final(folder, folder, earlier_s + time.monotonic() - started)


def retrain_others(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """Final trainings of trials of other backbones, as long as they fit. What fails here costs nothing that is done."""
    from search.errors import InUseError
    from search.final.runners_up import runner_up_of
    from search.study.begun_final import retrained_s
    from search.study.driver_life import has_driver

    if not folder.out_of_fold.exists() or experiment.photos == "all":
        return
    _count_ended(folder)
    while (found := runner_up_of(folder, experiment)) is not None:
        there = folder.beside(found.number)
        started, earlier_s, failures = time.monotonic(), 0.0, list[Exception]()
        with optional(failures.append):
            if has_driver(there.retrain_study):
                raise InUseError(f"{there.retrain}: another process trains there: wait for it, or stop it")
            earlier_s = 0.0 if there.final in stored_run(folder).counted else retrained_s(there)
            folds = folds_that_fit_beside(folder, experiment, found.number, earlier_s=earlier_s)
            if not folds:
                if earlier_s:
                    count_final(folder, there, earlier_s)
                say("no time is left for a final training of another backbone")
                return
            show_plan(plan_of(folder, stored_run(folder), experiment))
            say(f"final training of trial {found.number:04d}, of another backbone, on {folds} folds")
            asked = replace(experiment, folds=folds)
            run_retrain(there, asked, trial=found.number, address=address, goes_on=True, again=OR_RESUME)
        count_final(folder, there, earlier_s + time.monotonic() - started)
        if failures:
            warn(f"the final training of trial {found.number:04d} failed, and is left out: {reason_of(failures[0])}")
            return


def score_again_if_damaged(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """Writes the scores of the winner's training anew if they cannot be read, as the steps after it must."""
    if _has_damaged_scores(folder):
        retrain_winner(folder, experiment, address)


def _has_damaged_scores(folder: "StudyFolder") -> bool:
    from search.errors import StudyError
    from search.study.final_scores import read_scores

    if folder.scores.exists():
        try:
            read_scores(folder)
        except StudyError:
            return True
    return False


def _count_ended(folder: "StudyFolder") -> None:
    """Counts trainings beside that ended in an earlier call which was killed before it counted them.

    Those that the user ran between two calls, by `retrain --beside`, count too.
    """
    from search.study.begun_final import retrained_s
    from search.study.finals_beside import finals_beside, is_final_whole

    counted = stored_run(folder).counted
    for there in finals_beside(folder):
        if there.final not in counted and is_final_whole(there):
            count_final(folder, there, retrained_s(there))


def possible_folds(folder: "StudyFolder", experiment: "Experiment", folds: int) -> int:
    """So many folds, or the most that the photos allow, if those are three or more and more than the file asks for;
    else as many as the file asks for."""
    from carcls.errors import DataError
    from carcls.splits.k_folds import make_folds
    from carcls.splits.split_files import read_split

    if folds <= experiment.folds:
        return folds
    split = read_split(folder.split, experiment.data.root)
    for count in range(folds, max(experiment.folds, 2), -1):
        with suppress(DataError):
            make_folds(split, count=count, seed=experiment.data.validation.seed)
            if count < folds:
                say(f"the photos are too few for {folds} folds: {count}")
            return count
    say(f"the photos are too few for {folds} folds: {experiment.folds}, as the file asks")
    return experiment.folds


def _possible_photos(folder: "StudyFolder", final: "Experiment", trial: int) -> "Experiment":
    """The final training on all photos if the file asks for it and the search's trial can stand in for its scores."""
    from search.final.trial_weights import has_weights

    if not final.is_refit_alone:
        return final
    if final.retrain:
        why = "the file's retrain section changes the trial, which therefore cannot tell how long to train"
    elif not has_weights(folder, trial) and not _trains_on_all_photos(folder):
        why = f"the weights of trial {trial:04d} are gone, which are scored in its place"
    else:
        return final
    say(f"the final training is on the search's split, not on all photos: without folds {why}")
    return replace(final, photos="train")


def _trains_on_all_photos(folder: "StudyFolder") -> bool:
    """Whether a final training on all photos was begun."""
    from carcls.splits.k_folds import EVERY_PHOTO
    from search.study.study import Study

    if not (folder.retrain_config.exists() and folder.retrain_study.log.exists()):
        return False
    return any(record.fold == EVERY_PHOTO for record in Study.open(folder.retrain, read_only=True).records())


def has_seen_all_photos(folder: "StudyFolder") -> bool:
    """Whether the final model was trained on all photos."""
    from search.study.final_scores import read_scores
    from search.study.finals_beside import is_final_whole

    return is_final_whole(folder) and read_scores(folder).refit is not None


def folds_that_fit_beside(folder: "StudyFolder", experiment: "Experiment", number: int, *, earlier_s: float) -> int:
    """Folds of a final training that fit beside the study's own, or those begun if the rest of them fits; else 0."""
    from carcls.splits.split_files import read_split
    from search.policy.step_times import fold_share
    from search.study.begun_final import folds_begun, paces_of, share_left
    from search.study.final_scores import read_scores
    from search.study.study import Study

    there = folder.beside(number)
    study, scores = Study.open(folder.root, read_only=True), read_scores(folder)
    records, whole = study.records(), stored_run(folder)
    own = 0 if scores.trial is None else scores.trial
    with_pseudo = scores.pseudo.photos if scores.pseudo is not None and scores.pseudo.gain.helps else 0
    pseudo_share = with_pseudo / read_split(folder.split, experiment.data.root).labelled
    fold_s = scores.seconds / scores.folds / fold_share(scores.folds, whole.train_share, pseudo_share=pseudo_share)
    begun = folds_begun(there)
    folds = whole.after(earlier_s, whole.stage).folds_beside(
        records,
        number,
        own=own,
        searched_s=study.elapsed_s,
        pace=fold_s / whole.estimated_s(records[own]),
        left=share_left(there),
        begun=begun,
        paces=paces_of(folder, whole.counted),
    )
    possible = folds if begun else possible_folds(folder, experiment, folds)
    return possible if begun or possible > 1 else 0  # a single training could not be averaged with folds
