"""carsearch: the commands. Each imports what it needs inside, so that `check` answers in under a second."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from search.cli_actions import knock_at, open_study, run_retrain, run_search, run_submit, show_status, winner_of
from search.cli_backbones import backbones
from search.cli_data import data_app
from search.cli_simulate import simulate
from search.cli_store import store_app
from search.terminal import say as _say
from search.terminal import warn as _warn

app = typer.Typer(
    help="Hyperparameter search for fine-tuning image classifiers, made for car photos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
app.command()(backbones)
app.command()(simulate)

File = Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]
StudyArgument = Annotated[Path, typer.Argument(help="The study's folder, such as results/cars.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one key of the file; repeatable.")
]
Address = Annotated[str | None, typer.Option(help="Join the Ray cluster there instead of starting Ray here.")]
Replace = Annotated[bool, typer.Option("--replace", help="Delete what stands there and start over.")]


@app.command()
def check(file: File, overrides: Overrides = None) -> None:
    """Check an experiment file: every problem with its line, and what the search would do."""
    from search.experiment.experiment import load

    experiment = load(file, overrides or [])
    _say(f"{file}: ok")
    for line in experiment.summary_lines():
        _say(f"  {line}")
    for problem in experiment.missing_files():
        _warn(f"warning: {problem}")


@app.command()
def run(file: File, overrides: Overrides = None, address: Address = None, replace: Replace = False) -> None:
    """Search: train, compare and stop configurations until the budget is used."""
    from search import logs
    from search.creation import create_study
    from search.experiment.experiment import load

    experiment = load(file, overrides or [])
    logs.setup()
    knock_at(address)
    folder, frozen = open_study(create_study(experiment, replace=replace).root)
    run_search(folder, frozen, address)


@app.command()
def resume(study: StudyArgument, overrides: Overrides = None, address: Address = None) -> None:
    """Go on with a search that was interrupted, from its last checkpoints; or give it more: --set search.trials=64."""
    from search import logs
    from search.experiment.changes import RESUMABLE
    from search.frozen import keep_changes
    from search.record import recording_policy
    from search.study import Study

    logs.setup()
    folder, experiment = open_study(study, overrides, changeable=RESUMABLE)
    if overrides or not Study.open(folder.root, read_only=True).is_finished:
        knock_at(address)
    for change in keep_changes(folder, experiment):
        _say(f"changed {change}")
    recording = Study.open(folder.root, read_only=True).is_recording
    run_search(folder, experiment, address, recording_policy(experiment) if recording else None)


@app.command()
def record(
    file: File,
    table: Annotated[Path, typer.Option(help="Where the recorded curves go.")],
    overrides: Overrides = None,
    address: Address = None,
    write_only: Annotated[bool, typer.Option("--write-only", help="Write what has ended; train nothing.")] = False,
) -> None:
    """Train points that fill the space to their end, and keep their curves for `simulate`; goes on where it stood."""
    from search import logs
    from search.creation import open_recording
    from search.experiment.experiment import load
    from search.record import recording_policy, write_table

    experiment = load(file, overrides or [])
    logs.setup()
    policy = recording_policy(experiment)
    if not write_only:
        knock_at(address)
    folder, frozen = open_study(open_recording(experiment).root)
    try:
        if not write_only:
            run_search(folder, frozen, address, policy)
    finally:
        _say(f"{write_table(folder, table, experiment.data.root)} of {policy.total} trainings: {table}")


@app.command()
def status(study: StudyArgument) -> None:
    """Where a study stands, also while it runs."""
    show_status(*open_study(study))


@app.command()
def report(study: StudyArgument) -> None:
    """Write the study's page, report.html."""
    from search.page import write_study_report

    folder, experiment = open_study(study)
    write_study_report(folder, experiment)
    _say(f"report: {folder.report}")


@app.command()
def train(file: File, overrides: Overrides = None, replace: Replace = False) -> None:
    """Train a file without domains as one fixed recipe, through all stages; goes on where it was cut off."""
    from search.creation import create_recipe_folder
    from search.experiment.experiment import load
    from search.final.patience import with_patience_of

    experiment = load(file, overrides or [])
    folder, frozen = open_study(create_recipe_folder(experiment, replace=replace).root)
    run_retrain(folder, with_patience_of(frozen, experiment), trial=None)


@app.command()
def retrain(
    study: StudyArgument,
    trial: Annotated[int | None, typer.Option(help="This trial instead of the winner.")] = None,
    overrides: Overrides = None,
    replace: Replace = False,
) -> None:
    """Train the best configuration through all stages with the file's `retrain:` settings, then choose TTA."""
    from search.experiment.changes import RETRAINABLE

    folder, experiment = open_study(study, overrides, changeable=RETRAINABLE)
    run_retrain(folder, experiment, trial=winner_of(folder, trial), replace=replace)


@app.command()
def submit(study: StudyArgument) -> None:
    """Write submission.csv: the final model over the test photos, checked against the contest's sample."""
    run_submit(*open_study(study))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model.keras file of `carsearch retrain` or `train`.")],
    files: Annotated[list[Path], typer.Argument(help="Photos to classify, or folders of them.")],
) -> None:
    """Classify photos: one line each, tab-separated: file, class, probability."""
    from search.logs import keep_native_output

    keep_native_output(Path(os.devnull))
    from carcls.data.unlabelled import photos_below
    from carcls.inference.export import load_model

    photos = [photo for path in files for photo in (photos_below(path) if path.is_dir() else (path,))]
    if not photos:
        _warn(f"no photos below {', '.join(str(path) for path in files)}")
        raise typer.Exit(1)
    failed = False
    for found in load_model(model).predict_files(photos):
        if found.error:
            failed = True
            _warn(f"{found.path}: {found.error}")
        else:
            _say(f"{found.path}\t{found.label}\t{found.probability:.4f}")
    if failed:
        raise typer.Exit(1)


@app.command()
def demo() -> None:
    """The whole way on drawn cars: sample data, search, retrain, score, submission.csv, report."""
    from search import logs
    from search.demo import run_demo

    logs.setup()
    run_demo(
        say=_say,
        search=lambda folder, experiment: run_search(folder, experiment, None),
        retrain=lambda folder, experiment: run_retrain(folder, experiment, trial=winner_of(folder, None)),
        submit=run_submit,
    )


def main() -> None:
    """The console script: errors meant for the user are one message and exit 2, never a traceback."""
    from carcls.atomic import is_full_disk
    from carcls.errors import CarclsError
    from search.errors import SearchError

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only, where TensorFlow listens
    try:
        app()
    except (CarclsError, SearchError) as error:
        _warn(f"carsearch: {error}")
        sys.exit(2)
    except OSError as error:
        if is_full_disk(error):
            _warn(f"carsearch: {error}: free some space there, then run the same command again")
        elif error.filename is not None:  # closed to us, or a name too long: not our fault
            _warn(f"carsearch: {os.fsdecode(error.filename)}: {error.strerror}")
        else:
            raise
        sys.exit(2)


if __name__ == "__main__":
    main()
