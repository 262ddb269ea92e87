"""Actions that several commands share: open a study, search, retrain and submit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from search.cli.exit_codes import ERROR, INTERRUPTED, TERMINATED
from search.cli.outcomes import resume_hint, say_closing, say_finished, warn_untrained
from search.cli.output import Output, progress_for
from search.terminal.console import say, warn
from search.terminal.continuing import OR_RESUME, SAME_COMMAND

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.policy.policy import Policy
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


def open_whole_study(study: Path) -> "tuple[StudyFolder, Experiment, Study | None]":
    """The same with its trials, read once; without them for a fixed recipe, which has no study."""
    from search.study.folder import StudyFolder
    from search.study.frozen import open_experiment

    folder = StudyFolder(study.absolute())
    opened = open_if_there(folder)
    return folder, open_experiment(folder, study=opened), opened


def open_if_there(folder: "StudyFolder") -> "Study | None":
    """The study in a folder, read once for several uses; None if there is none, or a fixed recipe."""
    from search.study.study import Study

    there = folder.experiment.is_file() and folder.log.is_file()
    return Study.open(folder.root, read_only=True) if there else None


def check_cluster_access(address: str | None) -> None:
    """Checks, before anything is written, that Ray can start here or that the cluster at `address` grants access.

    Raises HomeError, or ClusterError within seconds, if not. Without an address Ray is not imported.
    """
    from carcls.system.home import home_folder

    home_folder()  # Ray needs a results folder there, even if it is given another
    if address is not None:
        from search.on_ray.check_access import check_access

        check_access(address)


def resume_search(
    study: Path,
    overrides: list[str] | None,
    address: str | None,
    output: Output = Output.PEOPLE,
    *,
    goes_on: bool = False,
) -> None:
    """Resumes a search or a recording, with changes from overrides. goes_on: see `run_search`, also for errors."""
    from search.experiment.changes import RESUMABLE
    from search.simulator.record import recording_policy
    from search.study.folder import StudyFolder
    from search.study.frozen import keep_changes, open_experiment

    folder = StudyFolder(study.absolute())
    seen = open_if_there(folder)
    experiment = open_experiment(folder, overrides or [], changeable=RESUMABLE, study=seen)
    if overrides or seen is None or not seen.is_finished:
        check_cluster_access(address)
    changes = keep_changes(folder, experiment, seen)
    for change in changes:
        say(f"changed {change}")
    policy = recording_policy(experiment) if seen is not None and seen.is_recording else None
    run_search(folder, experiment, address, policy, output=output, goes_on=goes_on, seen=None if changes else seen)


def run_search(
    folder: "StudyFolder",
    experiment: "Experiment",
    address: str | None,
    policy: "Policy | None" = None,
    *,
    output: Output = Output.PEOPLE,
    goes_on: bool = False,
    seen: "Study | None" = None,
) -> None:
    """Runs a search to its end, shows progress, and writes the report. If the study is already finished, only says so,
    without importing Ray. goes_on: the command takes the next steps by itself, so none is named. seen: the study if it
    was just opened, which spares a large one a second reading.

    Exits with 130 if the search was interrupted, with 143 after SIGTERM, with 2 if it stopped early and can be resumed.
    Raises StudyError if another process uses the study, ExperimentError if photos or weights are missing.
    """
    from search.api.steps import search_study
    from search.driver.steering import take_requests
    from search.study.requests import waiting_requests
    from search.study.study import Study

    seen = seen or Study.open(folder.root, read_only=True)
    if seen.is_finished or any(waiting_requests(folder)):
        with Study.open(folder.root) as seen:
            take_requests(seen, folder, experiment)  # a request for one more trial continues a finished search
            if seen.is_finished:
                say_finished(folder, experiment, seen, goes_on=goes_on)
                return
    progress = progress_for(output, folder.name, seen.records())
    how = OR_RESUME if goes_on else f"'carsearch resume {folder.root}' or {OR_RESUME}"
    with _ends_by_sigterm(f"continue with {how}"):
        end = search_study(folder, experiment, progress=progress, address=address, policy=policy)
    if end.trained:
        say(f"report: {folder.report}")
    if end.finished and end.trained:
        say_closing(folder, experiment, goes_on=goes_on)
    if not end.finished:
        why = "interrupted" if end.by_user else f"carsearch: {end.why}"
        warn(f"{why}: {resume_hint(folder, goes_on=goes_on)}")
        raise typer.Exit(INTERRUPTED if end.by_user else ERROR)
    if not end.trained:
        warn_untrained(folder, Study.open(folder.root, read_only=True).records())
        raise typer.Exit(ERROR)


@contextmanager
def _ends_by_sigterm(how: str) -> Iterator[None]:
    """Within this context, SIGTERM ends the command with a last line and its exit code. how: how to continue."""
    from search.driver.interrupts import AskedToEnd, ended_by_sigterm

    try:
        with ended_by_sigterm():
            yield
    except AskedToEnd as end:
        warn(f"asked to end (SIGTERM), and ended: {how}")
        raise typer.Exit(TERMINATED) from end


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
    goes_on: bool = False,
    again: str = SAME_COMMAND,
) -> None:
    """Runs the final training, on this machine or the cluster at `address`, prints its scores, and writes the
    report. goes_on: see `run_search`. again: what continues it. Exits with 143 after SIGTERM."""
    from search.study.final_lock import clear_retrain
    from search.terminal.logs import redirect_native_stderr

    if address is not None:
        check_cluster_access(address)
    from search.final.retrain import final_config
    from search.final.start_checks import check_own_policy, check_start
    from search.final.trial_weights import check_weights
    from search.study.finals_beside import is_final_whole

    config = final_config(folder, experiment, trial)  # before the folder: what cannot be trained leaves none
    if replace:
        check_start(folder, experiment, config, trial)
        clear_retrain(folder)
    elif not is_final_whole(folder):
        check_weights(folder, experiment, trial)
        check_own_policy(config)
    folder.retrain.mkdir(exist_ok=True)
    redirect_native_stderr(folder.retrain_output)
    from search.api.steps import retrain_study
    from search.progress.closing_lines import next_after_training, retrain_closing
    from search.study.final_scores import score_lines

    with _ends_by_sigterm(f"{again} continues"):
        scores = retrain_study(folder, experiment, config, trial=trial, address=address, say=say, again=again)
    for line in score_lines(scores):
        say(line)
    for line in retrain_closing(folder, scores, epochs=config.total_epochs, trial=trial):
        say(line)
    say(f"model: {folder.model}")
    say(f"report: {folder.report}")
    if goes_on:
        return
    is_beside = folder != folder.main
    say(f"next: carsearch ensemble {folder.root}" if is_beside else next_after_training(folder, experiment))


def run_ensemble(
    folder: "StudyFolder",
    experiment: "Experiment",
    *,
    most: int,
    max_ms: float | None,
    or_single: bool = False,
    goes_on: bool = False,
) -> None:
    """Selects an ensemble, prints what it is worth, and exports it if it helps. or_single: else the best training.
    goes_on: see `run_search`."""
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(Path(os.devnull))
    from search.ensemble.build import build_ensemble

    scores = build_ensemble(folder, experiment, most=most, max_ms=max_ms, say=say, or_single=or_single)
    for line in scores.lines():
        say(line)
    if folder.ensemble_model.exists():
        say(f"model: {folder.ensemble_model}")
        if not goes_on:
            say(f"next: carsearch submit {folder.root} --model {folder.ensemble_model}")


def run_submit(folder: "StudyFolder", experiment: "Experiment", *, model: Path | None = None) -> None:
    """Writes submission.csv, with warnings about unreadable photos. model: None for the final one."""
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(folder.retrain_output if folder.retrain.exists() else Path(os.devnull))
    from search.errors import StudyError
    from search.final.submit import submit as write
    from search.progress.closing_lines import submit_closing
    from search.study.ensemble_scores import EnsembleScores, read_ensemble
    from search.study.final_scores import Scores, read_scores

    end = write(folder, experiment, say=say, model=model)
    for photo_id in end.fallback_ids[:_SHOWN]:
        warn(f"warning: {photo_id} cannot be read: it got the most frequent class")
    if len(end.fallback_ids) > _SHOWN:
        warn(f"warning: and {len(end.fallback_ids) - _SHOWN:,} more photos that cannot be read")
    say(f"submission: {folder.submission} ({end.rows} rows)")
    scores: Scores | EnsembleScores | None = None
    if model is None and folder.scores.exists():
        with suppress(StudyError):  # they only describe what is written
            scores = read_scores(folder)
    elif model is not None and model.resolve() == folder.ensemble_model.resolve():
        scores = read_ensemble(folder)
    for line in submit_closing(folder, scores, rows=end.rows, unread=len(end.fallback_ids), model=model):
        say(line)
