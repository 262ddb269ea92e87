"""Actions that several commands share: open a study, search, retrain, submit, and print the outcome."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from search.cli.exit_codes import ERROR, INTERRUPTED
from search.terminal.console import console, say, warn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from carcls.config import TrainConfig
    from search.driver.interrupts import Interrupts
    from search.driver.place import OpenPlace, Place
    from search.experiment.experiment import Experiment
    from search.policy.policy import Policy
    from search.policy.records import TrialRecord
    from search.study.folder import StudyFolder
    from search.study.study import Study

_SHOWN = 10
"""Photos that warnings name individually."""


def open_study(
    study: Path, overrides: list[str] | None = None, *, changeable: tuple[str, ...] = ()
) -> "tuple[StudyFolder, Experiment]":
    """A study's folder and its own copy of the experiment, with overrides of changeable keys applied."""
    from search.study.folder import StudyFolder
    from search.study.frozen import open_experiment

    folder = StudyFolder(study.absolute())
    return folder, open_experiment(folder, overrides or [], changeable=changeable)


def check_cluster_access(address: str | None) -> None:
    """Checks, before anything is written, that Ray can start here or that the cluster at `address` grants access.

    Raises HomeError, or ClusterError within seconds, if not. Without an address Ray is not imported.
    """
    from carcls.system.home import home_folder

    home_folder()  # Ray needs a results folder there, even if it is given another
    if address is not None:
        from search.on_ray.check_access import check_access

        check_access(address)


def resume_search(study: Path, overrides: list[str] | None, address: str | None) -> None:
    """Resumes a search or a recording, with changes from overrides. Raises the same errors as `run_search`."""
    from search.experiment.changes import RESUMABLE
    from search.simulator.record import recording_policy
    from search.study.frozen import keep_changes
    from search.study.study import Study

    folder, experiment = open_study(study, overrides, changeable=RESUMABLE)
    if overrides or not Study.open(folder.root, read_only=True).is_finished:
        check_cluster_access(address)
    for change in keep_changes(folder, experiment):
        say(f"changed {change}")
    recording = Study.open(folder.root, read_only=True).is_recording
    run_search(folder, experiment, address, recording_policy(experiment) if recording else None)


def run_search(
    folder: "StudyFolder", experiment: "Experiment", address: str | None, policy: "Policy | None" = None
) -> None:
    """Runs a search to its end, shows progress, and writes the report. If the study is already finished, only says so,
    without importing Ray.

    Exits with 130 if the search was interrupted, with 2 if it stopped early and can be resumed. Raises StudyError if
    another process uses the study, ExperimentError if photos or weights are missing.
    """
    from search.errors import ExperimentError
    from search.experiment.node_store import open_store
    from search.progress.live_table import open_progress
    from search.report.page import write_study_report
    from search.study.study import Study

    with Study.open(folder.root) as study:
        known = study.records()
        if study.is_finished:
            _say_finished(folder, experiment, study)
            return
    if missing := experiment.missing_files():
        raise ExperimentError(missing)
    open_store(experiment.store)
    from search.on_ray.search import search

    progress = open_progress(console(), folder.name, known)
    end = search(folder, experiment, address=address, progress=progress, policy=policy)
    if end.trained:
        write_study_report(folder, experiment)
        say(f"report: {folder.report}")
    if end.finished and end.trained:
        _say_closing(folder, experiment)
    if not end.finished:
        why = "interrupted" if end.by_user else f"carsearch: {end.why}"
        warn(f"{why}: resume with 'carsearch resume {folder.root}'")
        raise typer.Exit(INTERRUPTED if end.by_user else ERROR)
    if not end.trained:
        _warn_untrained(folder, Study.open(folder.root, read_only=True).records())
        raise typer.Exit(ERROR)


def _say_closing(folder: "StudyFolder", experiment: "Experiment") -> None:
    from search.progress.closing_lines import search_closing
    from search.study.study import Study

    for line in search_closing(folder, experiment, Study.open(folder.root, read_only=True)):
        say(line)


def _warn_untrained(folder: "StudyFolder", records: "Sequence[TrialRecord]") -> None:
    """Warns that a finished search has no epoch of any trial, with the first cause of a failure."""
    from search.terminal.formatting import one_line

    cause = next((record.cause for record in records if record.cause), "no trial was started")
    warn(
        f"carsearch: {folder.root} is finished, but no trial was trained ({one_line(cause)}):"
        " fix that, then start over with 'carsearch run ... --replace'"
    )


def _say_finished(folder: "StudyFolder", experiment: "Experiment", study: "Study") -> None:
    """Says that the study is finished. Writes the report if the driver was killed before it could."""
    from search.progress.summary import counts_line
    from search.progress.tensorboard import TensorBoardWriter
    from search.report.page import write_study_report

    records = study.records()
    if not any(record.reports for record in records):
        _warn_untrained(folder, records)
        raise typer.Exit(ERROR)
    reported = folder.report.exists() and folder.report.stat().st_mtime >= folder.log.stat().st_mtime
    if not reported:
        events = TensorBoardWriter(folder.root)
        for record in records:
            events.catch_up(record)
        write_study_report(folder, experiment)
    say(f"{folder.root} is finished: {counts_line(records)}")
    if folder.report.exists():
        say(f"report: {folder.report}")
    _say_closing(folder, experiment)


def show_status(folder: "StudyFolder", experiment: "Experiment") -> None:
    """Prints the state of a study. Without a live driver, running trials count as interrupted, and a hint follows."""
    from search.driver.callbacks import spent
    from search.policy.time_plan import plan_lines
    from search.progress.closing_lines import expectations
    from search.progress.live_table import print_status
    from search.progress.summary import as_interrupted
    from search.study.checked_files import problems
    from search.study.journal import is_held
    from search.study.study import Study
    from search.study.whole_run import WholeRun

    study = Study.open(folder.root, read_only=True)
    for problem in problems(study, folder):
        warn(f"warning: {problem}")
    alive = is_held(folder.root)
    records = study.records() if alive else as_interrupted(study.records())
    used = spent(experiment, records, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
    print_status(console(), folder.name, records, used)
    for line in expectations(folder, experiment, study):
        say(line)
    for change in study.changes:
        say(f"changed {change.time}: {change}")
    whole = WholeRun.of(study)
    for line in plan_lines(whole.plan(records, searched_s=study.elapsed_s)) if whole else ():
        say(line)
    if not alive and not study.is_finished:
        say(f"no driver is running: resume with 'carsearch resume {folder.root}'")


def winner_of(folder: "StudyFolder", trial: int | None) -> int:
    """Number of the trial to retrain: the given one, or the winner."""
    from search.progress.summary import winner
    from search.study.study import Study

    return winner(Study.open(folder.root, read_only=True).records(), trial).number


def run_retrain(
    folder: "StudyFolder",
    experiment: "Experiment",
    *,
    trial: int | None,
    replace: bool = False,
    address: str | None = None,
) -> None:
    """Runs the final training, on this machine or the cluster at `address`, prints its scores, and writes the
    report."""
    from search.study.final_lock import clear_retrain
    from search.terminal.logs import redirect_native_stderr

    if address is not None:
        check_cluster_access(address)
    if replace:
        clear_retrain(folder)
    folder.retrain.mkdir(exist_ok=True)
    redirect_native_stderr(folder.retrain_output)
    from search.experiment.node_store import open_store
    from search.final.retrain import final_config, retrain
    from search.progress.closing_lines import next_after_training, retrain_closing
    from search.report.page import write_study_report
    from search.study.checked_files import check_folder
    from search.study.final_scores import score_lines

    check_folder(folder)
    open_store(experiment.store)
    config = final_config(folder, experiment, trial)
    place = None if address is None else _cluster(folder, experiment, config, address)
    scores = retrain(folder, experiment, config, trial=trial, say=say, open_place=place)
    for line in score_lines(scores):
        say(line)
    write_study_report(folder, experiment)
    for line in retrain_closing(folder, scores, epochs=config.total_epochs, trial=trial):
        say(line)
    say(f"model: {folder.model}")
    say(f"report: {folder.report}")
    say(next_after_training(folder, experiment))


def _cluster(folder: "StudyFolder", experiment: "Experiment", config: "TrainConfig", address: str) -> "OpenPlace":
    """The cluster at `address` for a final training."""
    from search.on_ray.ray_place import ray_place

    def open_place(interrupts: "Interrupts") -> "AbstractContextManager[Place]":
        how = "the same command resumes from the last epochs"
        own = folder.retrain_study
        return ray_place(own, experiment, [config], address=address, interrupts=interrupts, how=how)

    return open_place


def run_ensemble(
    folder: "StudyFolder", experiment: "Experiment", *, most: int, max_ms: float | None, or_single: bool = False
) -> None:
    """Selects an ensemble, prints what it is worth, and exports it if it helps. or_single: else the best training."""
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(Path(os.devnull))
    from search.ensemble.build import build_ensemble

    scores = build_ensemble(folder, experiment, most=most, max_ms=max_ms, say=say, or_single=or_single)
    for line in scores.lines():
        say(line)
    if folder.ensemble_model.exists():
        say(f"model: {folder.ensemble_model}")
        say(f"next: carsearch submit {folder.root} --model {folder.ensemble_model}")


def run_submit(folder: "StudyFolder", experiment: "Experiment", *, model: Path | None = None) -> None:
    """Writes submission.csv, with warnings about unreadable photos. model: None for the final one."""
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(folder.retrain_output if folder.retrain.exists() else Path(os.devnull))
    from search.final.submit import submit as write
    from search.progress.closing_lines import submit_closing
    from search.study.final_scores import read_scores

    end = write(folder, experiment, say=say, model=model)
    for photo_id in end.fallback_ids[:_SHOWN]:
        warn(f"warning: {photo_id} cannot be read: it got the most frequent class")
    if len(end.fallback_ids) > _SHOWN:
        warn(f"warning: and {len(end.fallback_ids) - _SHOWN:,} more photos that cannot be read")
    say(f"submission: {folder.submission} ({end.rows} rows)")
    scores = read_scores(folder.scores) if folder.scores.exists() and model is None else None
    for line in submit_closing(folder, scores, rows=end.rows, unread=len(end.fallback_ids)):
        say(line)
