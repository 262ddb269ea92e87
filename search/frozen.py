"""A study's own copy of its experiment: opened, and changed only where finished trials keep their meaning."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from carcls.atomic import write_text
from search.errors import ExperimentError, Problem, StudyError
from search.experiment.experiment import Experiment, load
from search.experiment.paths import policy_files, put
from search.experiment.problems import dotted
from search.folder import StudyFolder
from search.study import Study

RESUMABLE = ("search.trials", "search.budget", "search.finalists", "search.max_concurrent", "search.resources", "store")
"""Keys that a resumed search may change: how much and where, never what the finished trials mean."""

RETRAINABLE = ("retrain", "tta", "store", "search.deterministic")
"""Keys that a final training may change."""


def frozen_copy(experiment: Experiment, folder: StudyFolder) -> tuple[str, Mapping[str, bytes]]:
    """The experiment as text for the study in `folder`, and the files to lie in `folder.policies`, by name.

    These are the user's own augmentation policies. The text names the copies, and the copies are named by their
    content: an edit of the user's file changes no training of this study, and makes another experiment.

    Raises ExperimentError where a file cannot be read.
    """
    tree, copies = deepcopy(dict(experiment.tree)), {}
    for place, path in list(policy_files(tree)):
        source = Path(path)
        try:
            content = source.read_bytes()
        except OSError as error:
            what = f"cannot read {source}: {error.strerror}"
            raise ExperimentError((Problem(str(experiment.path), dotted(tree, place), what),)) from error
        name = f"{source.stem}-{blake2b(content, digest_size=8).hexdigest()}{source.suffix}"
        copies[name] = content
        put(tree, place, str(folder.policies / name))
    return replace(experiment, tree=tree).resolved_yaml(), copies


def open_experiment(
    folder: StudyFolder, overrides: Sequence[str] = (), *, changeable: Sequence[str] = ()
) -> Experiment:
    """The study's own frozen experiment, with overrides of `changeable` keys.

    Raises StudyError where the folder holds no study, or an override would change another key.
    """
    if not folder.experiment.is_file():
        raise StudyError(f"{folder.root} holds no study: expected {folder.experiment.name} there (see 'carsearch run')")
    for override in overrides:
        path = override.partition("=")[0].strip()
        if not any(path == key or path.startswith(f"{key}.") for key in changeable):
            raise StudyError(
                f"--set {override}: {path} cannot change in an existing study; expected one of {', '.join(changeable)}"
            )
    return load(folder.experiment, overrides)


def keep_changes(folder: StudyFolder, experiment: Experiment) -> None:
    """Writes the experiment's overrides into the study, so that later commands see them; a larger budget reopens it."""
    if experiment.resolved_yaml() == folder.experiment.read_text(encoding="utf-8"):
        return
    with Study.open(folder.root) as study:
        study.set_budget_exhausted(False)
    write_text(folder.experiment, experiment.resolved_yaml())
