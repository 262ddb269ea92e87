"""What commands print about a study: its status, its outcome, and warnings."""

from typing import TYPE_CHECKING

import typer

from search.cli.exit_codes import ERROR
from search.terminal.console import console, say, warn
from search.terminal.continuing import OR_RESUME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.experiment.experiment import Experiment
    from search.policy.records import TrialRecord
    from search.study.folder import StudyFolder
    from search.study.study import Study


def resume_hint(folder: "StudyFolder", *, goes_on: bool) -> str:
    """How to continue a search that did not end. goes_on: further steps follow it, which `resume` would not take."""
    return f"continue with {OR_RESUME}" if goes_on else f"resume with 'carsearch resume {folder.root}'"


def say_closing(folder: "StudyFolder", experiment: "Experiment", *, goes_on: bool = False) -> None:
    """Prints the outcome of a finished search, and the next commands unless this one `goes_on` by itself."""
    from search.progress.closing_lines import search_closing
    from search.study.study import Study

    for line in search_closing(folder, experiment, Study.open(folder.root, read_only=True), goes_on=goes_on):
        say(line)


def warn_untrained(folder: "StudyFolder", records: "Sequence[TrialRecord]") -> None:
    """Warns that a finished search has no epoch of any trial, with the first cause of a failure."""
    from search.terminal.formatting import one_line

    cause = next((record.cause for record in records if record.cause), "no trial was started")
    warn(
        f"carsearch: {folder.root} is finished, but no trial was trained ({one_line(cause)}):"
        " fix that, then start over with 'carsearch run ... --replace'"
    )


def say_finished(folder: "StudyFolder", experiment: "Experiment", study: "Study", *, goes_on: bool = False) -> None:
    """Says that the study is finished. Writes the report if the driver was killed before it could."""
    from search.api.steps import write_report_or_warn
    from search.progress.summary import counts_line
    from search.progress.tensorboard import TensorBoardWriter

    records = study.records()
    if not any(record.reports for record in records):
        warn_untrained(folder, records)
        raise typer.Exit(ERROR)
    reported = folder.report.exists() and folder.report.stat().st_mtime >= folder.log.stat().st_mtime
    if not reported:
        events = TensorBoardWriter(folder.root)
        for record in records:
            events.catch_up(record)
        write_report_or_warn(folder, experiment)
    say(f"{folder.root} is finished: {counts_line(records)}")
    if folder.report.exists():
        say(f"report: {folder.report}")
    say_closing(folder, experiment, goes_on=goes_on)


def show_status(
    folder: "StudyFolder", experiment: "Experiment", study: "Study | None" = None, *, nodes: bool = False
) -> None:
    """Prints the state of a study. Without a live driver, running trials count as interrupted, and a hint follows.

    study: if it was just opened. nodes: also one line for each node of a cluster.
    """
    from search.driver.callbacks import spent
    from search.policy.time_plan import plan_lines
    from search.progress.closing_lines import expectations
    from search.progress.live_table import print_status
    from search.progress.summary import as_interrupted
    from search.study.begun_final import plan_now
    from search.study.checked_files import problems
    from search.study.driver_life import has_driver
    from search.study.gpu_notes import failing_gpu_lines, failing_gpus
    from search.study.node_notes import node_lines, node_notes
    from search.study.run_hours import WholeRun
    from search.study.study import Study
    from search.terminal.formatting import one_line

    study = study or Study.open(folder.root, read_only=True)
    for problem in problems(study, folder):
        warn(f"warning: {problem}")
    alive = has_driver(folder)
    records = study.records() if alive else as_interrupted(study.records())
    used = spent(experiment, trained_s=study.trained_s, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
    print_status(console(), folder.name, records, used)
    for line in expectations(folder, experiment, study):
        say(line)
    for line in node_lines(node_notes(study)) or ("no nodes: this study has never used a cluster",) if nodes else ():
        say(one_line(line))
    for line in failing_gpu_lines(failing_gpus(study)):
        say(one_line(line))
    for change in study.changes:
        say(f"changed {change.time}: {change}")
    whole = WholeRun.of(study)
    if whole is not None:
        plan = plan_now(folder, whole, study, records, search_hours=experiment.search.budget.hours)
        for line in plan_lines(plan):
            say(line)
    if not alive:
        _say_how_to_continue(folder, study)


def _say_how_to_continue(folder: "StudyFolder", study: "Study") -> None:
    """For a study whose search is not running."""
    from search.study.driver_life import has_driver
    from search.study.finals_beside import finals_beside
    from search.study.run_hours import command_of

    command = command_of(folder, study)
    if command is None and not study.is_finished:
        say(f"no driver is running: resume with 'carsearch resume {folder.root}'")
    finals = (one for one in (folder, *finals_beside(folder)) if one.retrain.is_dir())
    if command is not None and not any(has_driver(one.retrain_study) for one in finals):
        say(f"unless it is running: continue with '{command}'")
