"""A study's own copy of its experiment. Only settings that keep the meaning of finished trials may change."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from search.errors import ExperimentError, Problem, StudyError
from search.experiment.changes import RESUMABLE, Change, differences, refusal
from search.experiment.experiment import Experiment, load
from search.experiment.file.paths import copy_name, policy_files, put, with_local_policies
from search.experiment.file.problems import dotted
from search.study.folder import StudyFolder
from search.study.study import Study


def frozen_copy(experiment: Experiment, folder: StudyFolder) -> tuple[str, Mapping[str, bytes]]:
    """The experiment as text for the study in `folder`, and the files for `folder.policies`, by name.

    The files are copies of the user's own augmentation policies, named after their content, and the text refers to
    them. So editing the user's file does not change this study; it makes a different experiment.

    Raises ExperimentError if a file cannot be read.
    """
    frozen, copies = _with_copies(experiment, folder)
    return frozen.resolved_yaml(), copies


def _with_copies(experiment: Experiment, folder: StudyFolder) -> tuple[Experiment, Mapping[str, bytes]]:
    tree, copies = deepcopy(dict(experiment.tree)), {}
    for place, path in list(policy_files(tree)):
        source = Path(path)
        try:
            content = source.read_bytes()
        except OSError as error:
            what = f"cannot read {source}: {error.strerror}"
            raise ExperimentError((Problem(str(experiment.path), dotted(tree, place), what),)) from error
        name = copy_name(source, content)
        copies[name] = content
        put(tree, place, str(folder.policies / name))
    return replace(experiment, tree=tree), copies


def changes_asked(folder: StudyFolder, experiment: Experiment) -> tuple[str, ...]:
    """Settings that changed in a file since its study was created, as overrides for `open_experiment`.

    Changes made by a resume stay, unless the file changed the same setting. Raises StudyError if a setting changed that
    a resumed search may not change, or if the folder holds no search.
    """
    study = Study.open(folder.root, read_only=True) if folder.log.is_file() else None
    open_experiment(folder, study=study)  # Raises StudyError if there is no study.
    if study is None or study.is_recording:
        raise StudyError(f"{folder.root} holds no search, but a recording or a recipe: choose another '--set name=...'")
    own = with_local_policies(load(folder.experiment, stored=True).tree, folder.policies)
    changes = differences(own, _with_copies(experiment, folder)[0].tree)
    wrong = [change for change in changes if refusal(change.override, RESUMABLE)]
    if wrong:
        raise StudyError(
            f"{folder.root} holds the results of other settings ({'; '.join(map(str, wrong[:3]))}): choose another name"
            " with '--set name=...', or start over with '--replace', which deletes them"
        )
    return tuple(change.override for change in changes)


def where_it_lies(experiment: Experiment) -> Experiment:
    """An experiment that was loaded from a study's own copy, with the name and the results folder that it has now.

    Otherwise, after the study was moved or renamed, `run FILE --or-resume` would begin another one at the old place.
    Another name or folder that the user sets is another study's.
    """
    folder = StudyFolder(experiment.path.absolute().parent)
    is_own = experiment.path.name == folder.experiment.name and folder.log.is_file()
    if not is_own or experiment.results_url is not None:
        return experiment
    stored = load(experiment.path, stored=True)
    if (experiment.name, experiment.results) != (stored.name, stored.results):
        return experiment
    tree = with_local_policies(experiment.tree, folder.policies)
    return replace(experiment, name=folder.name, results=folder.root.parent, tree=tree)


def open_experiment(
    folder: StudyFolder, overrides: Sequence[str] = (), *, changeable: Sequence[str] = (), study: Study | None = None
) -> Experiment:
    """The study's own experiment: the frozen one, with the recorded changes and then the overrides applied.

    study: if it is open already, which spares a large one a second reading.

    Raises StudyError if the folder holds no study, or if an override's key is not in `changeable`. The message names
    the key and the reason.
    """
    if not folder.experiment.is_file():
        raise StudyError(f"{folder.root} holds no study: expected {folder.experiment.name} there (see 'carsearch run')")
    refused = [text for override in overrides if (text := refusal(override, changeable))]
    if refused:
        raise StudyError("\n".join(refused))
    experiment = load(
        folder.experiment, [*(change.override for change in recorded_changes(folder, study)), *overrides], stored=True
    )
    # Only the tree: space and baseline keep the values that finished trials were recorded with.
    return replace(experiment, tree=with_local_policies(experiment.tree, folder.policies))


def recorded_changes(folder: StudyFolder, study: Study | None = None) -> tuple[Change, ...]:
    """Changes since the study was created; empty for a fixed recipe, which has no study. study: if it is open."""
    if study is not None:
        return study.changes
    return Study.open(folder.root, read_only=True).changes if folder.log.is_file() else ()


def keep_changes(folder: StudyFolder, experiment: Experiment, study: Study | None = None) -> tuple[Change, ...]:
    """Record how an experiment differs from the study's own, so that later commands use the changes too.

    study: if it was just opened. A change reopens a finished study and an exhausted budget. Returns the changes;
    without any, nothing is written. Raises StudyError if another process writes to the study.
    """
    changes = differences(open_experiment(folder, study=study).tree, experiment.tree)
    if changes:
        with Study.open(folder.root) as writer:
            writer.add_changes(changes)
    return tuple(changes)
