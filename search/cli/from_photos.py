"""`carsearch run DATA`: from photos to a submission, through an experiment file that it writes."""

from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.actions import (
    check_cluster_access,
    open_study,
    resume_search,
    run_retrain,
    run_search,
    run_submit,
    winner_of,
)
from search.cli.commands.init import UNPACKED, Preset, unpack_with_bar, write
from search.cli.output import Output
from search.cli.whole_run import run_within
from search.terminal.console import say

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.start.sources import Source
    from search.study.folder import StudyFolder


def run_photos(
    data: Path,
    *,
    preset: Preset | None,
    weights: list[Path] | None,
    overrides: list[str],
    address: str | None,
    replace: bool,
    output: Output,
    hours: float | None = None,
) -> None:
    """Writes the experiment file unless it is there, searches, retrains and submits. The same call continues.

    preset: None for one that suits the hours, whose search then ends by them alone.

    Raises StartError if the file in its place is for other photos, otherwise the errors of the steps.
    """
    from search.driver.create import create_study, study_of
    from search.start.plan import preset_for
    from search.start.sources import source_of, study_name

    source = source_of(data, into=UNPACKED)
    name = study_name(data)
    file = Path(f"{name}.yaml")
    is_kept = file.exists() and not replace
    if is_kept:
        _loaded(file, overrides, data, source)
    unpack_with_bar(source)
    if is_kept:
        say(f"using {file}, which exists already; --replace writes it anew and starts over")
    else:
        chosen, run_hours = preset or preset_for(hours), None if preset else hours
        write(source, preset=chosen, name=name, file=file, weights=weights, replace=replace, run_hours=run_hours)
    experiment = _loaded(file, overrides, data, source)
    if hours is not None:
        run_within(experiment, hours, address=address, replace_study=replace, or_resume=not replace, output=output)
        return
    there = None if replace else study_of(experiment)
    if there is None:
        check_cluster_access(address)
        folder, frozen = open_study(create_study(experiment, replace=replace).root)
        run_search(folder, frozen, address, output=output, goes_on=True)
    else:
        from search.study.frozen import changes_asked

        resume_search(there.root, list(changes_asked(there, experiment)), address, output, goes_on=True)
        folder, frozen = open_study(there.root)
    retrain_and_submit(folder, frozen, address)


def _loaded(file: Path, overrides: list[str], data: Path, source: "Source") -> "Experiment":
    """The experiment. Raises StartError if it is for other photos than those of `source`, from `data`."""
    from search.errors import StartError
    from search.experiment.experiment import load

    experiment = load(file, overrides)
    if experiment.data.root != source.photos.absolute():
        raise StartError(
            f"{file} is for the photos in {experiment.data.root}, not {source.photos}: move it away, or write another"
            f" with 'carsearch init {data} --output FILE --name NAME', then 'carsearch run FILE'"
        )
    return experiment


def retrain_and_submit(folder: "StudyFolder", experiment: "Experiment", address: str | None) -> None:
    """The steps after a finished search: the final training, then the submission if there are photos to predict."""
    from carcls.dataset.unlabelled import asks_for_submission

    has_tests = asks_for_submission(experiment.data.root, experiment.data.layout)
    run_retrain(folder, experiment, trial=winner_of(folder, None), address=address, goes_on=has_tests)
    if has_tests:
        run_submit(folder, experiment)
