"""The commands of carsearch. Each imports what it needs when it runs, so that `check` takes less than a second."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from carcls.system.module_path import remove_current_folder
from search.cli.actions import (
    check_cluster_access,
    open_study,
    open_whole_study,
    resume_search,
    run_retrain,
    run_search,
    run_submit,
    winner_of,
)
from search.cli.commands.backbones import backbones
from search.cli.commands.bench import bench
from search.cli.commands.check import File, Overrides, check
from search.cli.commands.data import data_app
from search.cli.commands.doctor import doctor
from search.cli.commands.export import export
from search.cli.commands.final import Replace, ensemble, retrain, submit, train
from search.cli.commands.init import Preset, WeightsOption, init
from search.cli.commands.lr import lr
from search.cli.commands.predict import predict
from search.cli.commands.serve import serve
from search.cli.commands.simulate import simulate
from search.cli.commands.store import store_app
from search.cli.commands.trial import trial_app
from search.cli.error_messages import Commands, message_of
from search.cli.exit_codes import ERROR
from search.cli.from_photos import run_photos
from search.cli.outcomes import show_status
from search.cli.output import AsJson, Quiet, chosen_output
from search.cli.study_argument import ReadStudyArgument, StudyArgument, study_to_read
from search.cli.whole_run import run_within
from search.terminal.console import install_safe_streams, output_error
from search.terminal.console import say as _say
from search.terminal.console import warn as _warn

app = typer.Typer(
    cls=Commands,
    help="Hyperparameter search for fine-tuning image classifiers, made for car photos.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
app.add_typer(trial_app, name="trial")
app.command()(init)
app.command()(check)
app.command()(backbones)
app.command()(doctor)
app.command()(bench)
app.command()(lr)
app.command()(predict)
app.command()(export)
app.command()(serve)
app.command()(simulate)

Address = Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting Ray on this machine.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _say(f"carsearch {version('carsearch')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hyperparameter search for fine-tuning image classifiers, made for car photos."""


@app.command()
def run(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE | DATA", show_default=False, help="The experiment file, or a folder or archive of photos."
        ),
    ],
    *,
    overrides: Overrides = None,
    address: Address = None,
    replace: Replace = False,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Resume the study if it exists; otherwise create it. Always for DATA.")
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(min=0.0, help="Hours from photos to submission: search, final trainings, ensemble, scoring."),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            "--preset",
            help="For DATA, how long to search: minutes, about an hour, or hours. Default: quick, or with --hours the"
            " one that suits them, as long as they allow.",
        ),
    ] = None,
    weights: WeightsOption = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search: train, compare and stop configurations until the budget is used up.

    With photos instead of an experiment file: write one as `init` does, search, retrain, and write submission.csv if
    there are photos to predict. --preset and --weights are for that file. The same command continues after an
    interruption. With --hours, the same steps follow for an experiment file too, by a plan of their times that is
    printed and revised; continue with --or-resume.
    """
    from search.driver.create import create_study, study_of
    from search.experiment.experiment import load
    from search.start.sources import is_data
    from search.study.frozen import where_it_lies
    from search.terminal import logs

    if replace and or_resume:
        raise typer.BadParameter("--replace starts over, and --or-resume resumes: give only one of them")
    if hours == 0:
        raise typer.BadParameter("--hours 0: nothing can be trained in no time; expected more than 0")
    output = chosen_output(quiet=quiet, as_json=as_json)
    if is_data(file):
        logs.setup()
        run_photos(
            file,
            preset=preset,
            weights=weights,
            overrides=overrides or [],
            address=address,
            replace=replace,
            hours=hours,
            output=output,
        )
        return
    experiment = where_it_lies(load(file, overrides or []))
    logs.setup()
    if hours is not None:
        run_within(experiment, hours, address=address, replace_study=replace, or_resume=or_resume, output=output)
        return
    there = study_of(experiment) if or_resume else None
    if there is not None:
        from search.study.frozen import changes_asked

        resume_search(there.root, list(changes_asked(there, experiment)), address, output)
        return
    check_cluster_access(address)
    folder, frozen = open_study(create_study(experiment, replace=replace).root)
    run_search(folder, frozen, address, output=output)


@app.command()
def resume(
    study: StudyArgument,
    *,
    overrides: Overrides = None,
    address: Address = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Resume an interrupted search from its last checkpoints, or extend it: --set search.trials=64."""
    from search.terminal import logs

    output = chosen_output(quiet=quiet, as_json=as_json)
    logs.setup()
    resume_search(study, overrides, address, output)


@app.command()
def record(
    file: File,
    table: Annotated[Path, typer.Option(help="File to write the recorded curves to.")],
    overrides: Overrides = None,
    address: Address = None,
    write_only: Annotated[bool, typer.Option("--write-only", help="Write finished curves; train nothing.")] = False,
) -> None:
    """Train points that fill the space to their end, and record their curves for `simulate`; resumes a recording."""
    from search.driver.create import open_recording
    from search.experiment.experiment import load
    from search.simulator.record import recording_policy, write_table
    from search.terminal import logs

    experiment = load(file, overrides or [])
    logs.setup()
    policy = recording_policy(experiment)
    if not write_only:
        check_cluster_access(address)
    folder, frozen = open_study(open_recording(experiment).root)
    try:
        if not write_only:
            run_search(folder, frozen, address, policy)
    finally:
        _say(f"{write_table(folder, table, experiment.data.root)} of {policy.total} trainings: {table}")


@app.command()
def status(
    study: ReadStudyArgument,
    nodes: Annotated[bool, typer.Option("--nodes", help="Also list the cluster's nodes and their faults.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing it, as `run` does, until the search ends.")
    ] = False,
) -> None:
    """Show the state of a study, also while it runs."""
    folder, experiment, opened = open_whole_study(study)
    if watch:
        from search.cli.watch import watch as watch_study

        watch_study(folder, experiment)
        opened = None  # it has changed since
    show_status(folder, experiment, opened, nodes=nodes)


@app.command()
def report(
    studies: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY...",
            help="Folders or URLs of studies; several are compared on one page.",
            parser=study_to_read,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Page of several studies; default: comparison.html beside the first study.")
    ] = None,
) -> None:
    """Write the study's report.html, or one page that compares several studies.

    leaderboard.csv, leaderboard.json and mistakes.csv are written beside a study's report.
    """
    from search.report.page import write_study_report

    if len(studies) == 1 and output is None:
        folder, experiment, there = open_whole_study(studies[0])
        write_study_report(folder, experiment, there)
        _say(f"report: {folder.report}")
        return
    from search.report.comparison_page import write_comparison

    opened = [open_study(study) for study in studies]
    page = output.absolute() if output is not None else opened[0][0].root.parent / "comparison.html"
    write_comparison(opened, page)
    _say(f"report: {page}")


app.command()(train)
app.command()(retrain)
app.command()(ensemble)
app.command()(submit)


@app.command()
def demo() -> None:
    """Run every step on drawn cars: sample data, search, retrain, score, submission.csv, report."""
    from search.cli.demo import run_demo
    from search.terminal import logs

    logs.setup()
    run_demo(
        say=_say,
        search=lambda folder, experiment: run_search(folder, experiment, None),
        retrain=lambda folder, experiment: run_retrain(folder, experiment, trial=winner_of(folder, None)),
        submit=run_submit,
    )


def _store_changes() -> None:
    """What a command changed in the mirror of a bucket goes there. Most commands have loaded nothing of it."""
    if places := sys.modules.get("search.study.bucket.places"):
        places.store_changes()


def main() -> None:
    """The console script. Errors meant for the user become one message without a traceback, and exit code 2."""
    remove_current_folder()
    install_safe_streams()
    from carcls.errors import CarclsError
    from search.errors import SearchError

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # only errors, as far as TensorFlow respects it
    code: str | int | None = ERROR
    try:
        try:
            app()
        finally:
            _store_changes()
    except SystemExit as end:
        code = end.code
    except (CarclsError, SearchError, ImportError) as error:
        _warn(f"carsearch: {message_of(error)}")
    sys.stdout.flush()
    if failure := output_error():
        _warn(f"carsearch: standard output: {failure.strerror}: the missing output was not written")
        code = code or ERROR
    sys.exit(code)
