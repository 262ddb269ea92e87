"""carsearch train, retrain, ensemble and submit: from a configuration to a model and what it predicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.actions import open_study, run_ensemble, run_retrain, run_submit, winner_of
from search.cli.commands.check import File, Overrides
from search.cli.study_argument import StudyArgument

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment

Cluster = Annotated[
    str | None, typer.Option("--address", help="Train on this Ray cluster instead of this machine; scored here.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Delete what exists there and start over.")]


def train(file: File, overrides: Overrides = None, replace: Replace = False) -> None:
    """Train a file without domains as one fixed recipe, with its `retrain:` settings; continues an interrupted call."""
    from search.driver.create import create_recipe_folder
    from search.experiment.experiment import load
    from search.experiment.runtime_settings import with_runtime_settings_of

    experiment = load(file, overrides or [])
    folder, frozen = open_study(create_recipe_folder(experiment, replace=replace).root)
    run_retrain(folder, with_runtime_settings_of(frozen, experiment), trial=None)


def retrain(
    study: StudyArgument,
    *,
    trial: Annotated[int | None, typer.Option(help="This trial instead of the winner.")] = None,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside",
            help="Train another trial beside the final training, by default the best of another backbone, for"
            " `carsearch ensemble` to average both.",
        ),
    ] = False,
    overrides: Overrides = None,
    replace: Replace = False,
    cluster: Cluster = None,
) -> None:
    """Train the best configuration through all stages with the file's `retrain:` settings, then choose TTA."""
    from search.experiment.changes import RETRAINABLE
    from search.final.runners_up import folder_beside, with_folds_beside
    from search.study.begun_final import folds_begun

    folder, experiment = open_study(study, overrides, changeable=RETRAINABLE)
    if beside:
        number, there = folder_beside(folder, trial, experiment)
        begun = 0 if replace else folds_begun(there)
        experiment = with_folds_beside(
            there, experiment, is_asked=_asks_folds(experiment, overrides or []), begun=begun
        )
    else:
        number, there = winner_of(folder, trial), folder
    run_retrain(there, experiment, trial=number, replace=replace, address=cluster)


def _asks_folds(experiment: "Experiment", overrides: Sequence[str]) -> bool:
    """Whether overrides set `retrain.folds`, alone or with its section. experiment: with the overrides."""
    keys = {override.partition("=")[0].strip() for override in overrides}
    section = experiment.tree.get("retrain")
    return "retrain.folds" in keys or ("retrain" in keys and isinstance(section, Mapping) and "folds" in section)


def ensemble(
    study: StudyArgument,
    most: Annotated[int, typer.Option("--max", min=1, max=20, help="Different members at most.")] = 5,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0.0, help="Largest time of one photo, in milliseconds.")
    ] = None,
) -> None:
    """Average the trainings of a study that help each other, and export one model if that is sure to help."""
    folder, experiment = open_study(study)
    run_ensemble(folder, experiment, most=most, max_ms=max_ms)


def submit(
    study: StudyArgument,
    model: Annotated[
        Path | None, typer.Option(help="Another exported model, such as STUDY/ensemble/model.keras.")
    ] = None,
) -> None:
    """Write submission.csv: the final model's predictions for the test photos, checked against the contest's sample."""
    run_submit(*open_study(study), model=model)
