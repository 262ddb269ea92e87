"""A study's own copy of its experiment: opened, and changed only where finished trials keep their meaning."""

from collections.abc import Sequence

from carcls.atomic import write_text
from search.errors import StudyError
from search.experiment.experiment import Experiment, load
from search.folder import StudyFolder
from search.study import Study

RESUMABLE = ("search.trials", "search.budget", "search.max_concurrent", "search.resources", "store")
"""Keys that a resumed search may change: how much and where, never what the finished trials mean."""

RETRAINABLE = ("retrain", "tta", "store", "search.deterministic")
"""Keys that a final training may change."""


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
