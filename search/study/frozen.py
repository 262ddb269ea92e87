"""A study's own copy of its experiment: opened, and changed only where finished trials keep their meaning."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from search.errors import ExperimentError, Problem, StudyError
from search.experiment.changes import RESUMABLE, Change, differences, refusal
from search.experiment.experiment import Experiment, load
from search.experiment.paths import copy_name, policy_files, put, with_local_policies
from search.experiment.problems import dotted
from search.study.folder import StudyFolder
from search.study.study import Study


def frozen_copy(experiment: Experiment, folder: StudyFolder) -> tuple[str, Mapping[str, bytes]]:
    """The experiment as text for the study in `folder`, and the files to lie in `folder.policies`, by name.

    These are the user's own augmentation policies. The text names the copies, and the copies are named by their
    content: an edit of the user's file changes no training of this study, and makes another experiment.

    Raises ExperimentError where a file cannot be read.
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
    """What a file asks for otherwise than it did when its study was created, as overrides for `open_experiment`.

    What a resume has changed since stays, unless the file changed it too. Raises StudyError where more changed than a
    resumed search may change, or no search stands there.
    """
    open_experiment(folder)  # that there is a study
    if not folder.log.is_file() or Study.open(folder.root, read_only=True).is_recording:
        raise StudyError(f"{folder.root} holds no search, but a recording or a recipe: choose another '--set name=...'")
    changes = differences(load(folder.experiment, stored=True).tree, _with_copies(experiment, folder)[0].tree)
    wrong = [change for change in changes if refusal(change.override, RESUMABLE)]
    if wrong:
        raise StudyError(
            f"{folder.root} holds the results of other settings ({'; '.join(map(str, wrong[:3]))}): choose another name"
            " by '--set name=...', or start over by '--replace', which deletes them"
        )
    return tuple(change.override for change in changes)


def open_experiment(
    folder: StudyFolder, overrides: Sequence[str] = (), *, changeable: Sequence[str] = ()
) -> Experiment:
    """The study's own experiment: as it was frozen, with the changes that the study has recorded since, and overrides.

    Raises StudyError where the folder holds no study, or an override is of another key than `changeable` ones; the
    message names the key and the reason.
    """
    if not folder.experiment.is_file():
        raise StudyError(f"{folder.root} holds no study: expected {folder.experiment.name} there (see 'carsearch run')")
    refused = [text for override in overrides if (text := refusal(override, changeable))]
    if refused:
        raise StudyError("\n".join(refused))
    experiment = load(
        folder.experiment, [*(change.override for change in recorded_changes(folder)), *overrides], stored=True
    )
    # The tree alone: space and baseline keep the values by which finished trials are known.
    return replace(experiment, tree=with_local_policies(experiment.tree, folder.policies))


def recorded_changes(folder: StudyFolder) -> tuple[Change, ...]:
    """What was changed since the study was created; nothing for the folder of a fixed recipe, which has no trials."""
    return Study.open(folder.root, read_only=True).changes if folder.log.is_file() else ()


def keep_changes(folder: StudyFolder, experiment: Experiment) -> tuple[Change, ...]:
    """Records in the study what an experiment has otherwise than the study's own, so that later commands have it too.

    A study with a change is no longer finished, nor its budget exhausted. Returns the changes; none: nothing is
    written. Raises StudyError where another process writes to the study.
    """
    changes = differences(open_experiment(folder).tree, experiment.tree)
    if changes:
        with Study.open(folder.root) as study:
            study.add_changes(changes)
    return tuple(changes)
