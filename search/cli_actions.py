"""What several commands do: open a study, search, retrain, submit, and say how it went."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from search.terminal import say, warn

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.folder import StudyFolder
    from search.policy.policy import Policy
    from search.study import Study

_SHOWN = 10
"""Photos that warnings name one by one."""


def open_study(
    study: Path, overrides: list[str] | None = None, *, changeable: tuple[str, ...] = ()
) -> "tuple[StudyFolder, Experiment]":
    """A study's files and its own copy of the experiment, with overrides of keys that may change."""
    from search.folder import StudyFolder
    from search.frozen import open_experiment

    folder = StudyFolder(study.absolute())
    return folder, open_experiment(folder, overrides or [], changeable=changeable)


def knock_at(address: str | None) -> None:
    """Before anything is written: whether the cluster that a search is to join lets it in.

    Raises ClusterError, in one line and within seconds, where it does not. Without an address nothing is asked, and
    nothing loaded.
    """
    if address is not None:
        from search.cluster.knock import knock

        knock(address)


def run_search(
    folder: "StudyFolder", experiment: "Experiment", address: str | None, policy: "Policy | None" = None
) -> None:
    """Searches to the end, shows how, writes the report. Exits with 130 where it was interrupted, with 2 where it
    stopped by itself, to be resumed.

    A study that is finished already is said to be, and Ray is not even loaded. Raises StudyError where another process
    is at work in it, ExperimentError where photos or weights are not where they were.
    """
    from rich.console import Console

    from search.errors import ExperimentError
    from search.page import write_study_report
    from search.progress import open_progress
    from search.study import Study

    with Study.open(folder.root) as study:
        known = study.records()
        if study.is_finished:
            _finished_already(folder, experiment, study)
            return
    if missing := experiment.missing_files():
        raise ExperimentError(missing)
    from search.run import search

    progress = open_progress(Console(), folder.name, known)
    end = search(folder, experiment, address=address, progress=progress, policy=policy)
    if end.trained:
        write_study_report(folder, experiment)
        say(f"report: {folder.report}")
    if not end.finished:
        why = "interrupted" if end.by_user else f"carsearch: {end.why}"
        warn(f"{why}: go on by 'carsearch resume {folder.root}'")
        raise typer.Exit(130 if end.by_user else 2)


def _finished_already(folder: "StudyFolder", experiment: "Experiment", study: "Study") -> None:
    """Says so. What a driver that was killed at the very end did not get to tell is told now."""
    from search.page import write_study_report
    from search.summary import best_line, counts_line
    from search.tensorboard import TensorBoardWriter

    records = study.records()
    reported = folder.report.exists() and folder.report.stat().st_mtime >= folder.log.stat().st_mtime
    if not reported and any(record.reports for record in records):
        events = TensorBoardWriter(folder.root)
        for record in records:
            events.catch_up(record)
        write_study_report(folder, experiment)
    more = "" if study.is_recording else f"; more of it: 'carsearch resume {folder.root} --set search.trials=...'"
    say(f"{folder.root} is finished: {counts_line(records)}; {best_line(records)}{more}")
    if folder.report.exists():
        say(f"report: {folder.report}")


def show_status(folder: "StudyFolder", experiment: "Experiment") -> None:
    """Where a study stands; without a living driver, what ran is interrupted, and how to go on is said."""
    from rich.console import Console

    from search.journal import is_held
    from search.progress import print_status
    from search.study import Study
    from search.summary import left_behind
    from search.watch import spent

    study = Study.open(folder.root, read_only=True)
    alive = is_held(folder.root)
    records = study.records() if alive else left_behind(study.records())
    used = spent(experiment, records, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
    print_status(Console(), folder.name, records, used)
    for change in study.changes:
        say(f"changed {change.time}: {change}")
    if not alive and not study.is_finished:
        say(f"no driver is at work: go on by 'carsearch resume {folder.root}'")


def winner_of(folder: "StudyFolder", trial: int | None) -> int:
    """Number of the trial to retrain: the one asked for, or the winner."""
    from search.study import Study
    from search.summary import winner

    return winner(Study.open(folder.root, read_only=True).records(), trial).number


def run_retrain(folder: "StudyFolder", experiment: "Experiment", *, trial: int | None, replace: bool = False) -> None:
    """The final training with its scores and the report."""
    from search.final.lock import clear_retrain
    from search.logs import keep_native_output

    if replace:
        clear_retrain(folder)
    folder.retrain.mkdir(exist_ok=True)
    keep_native_output(folder.retrain_output)
    from search.final.retrain import final_config, retrain
    from search.page import write_study_report
    from search.scores import score_lines

    config = final_config(folder, experiment, trial)
    scores = retrain(folder, experiment, config, trial=trial, say=say)
    for line in score_lines(scores):
        say(line)
    write_study_report(folder, experiment)
    say(f"model: {folder.model}")
    say(f"report: {folder.report}")


def run_submit(folder: "StudyFolder", experiment: "Experiment") -> None:
    """submission.csv, with a warning for what could not be read."""
    from search.logs import keep_native_output

    keep_native_output(folder.retrain_output if folder.retrain.exists() else Path(os.devnull))
    from search.submit import submit as write

    end = write(folder, experiment, say=say)
    for photo_id in end.fallback_ids[:_SHOWN]:
        warn(f"warning: {photo_id} cannot be read: it got the most frequent class")
    if len(end.fallback_ids) > _SHOWN:
        warn(f"warning: and so did {len(end.fallback_ids) - _SHOWN:,} other photos that cannot be read")
    say(f"submission: {folder.submission} ({end.rows} rows)")
