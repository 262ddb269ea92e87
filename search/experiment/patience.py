"""Settings of patience: how long a driver waits for a silent process, and how often it starts another. They are no part
of what is trained, so a later call of the same training may have other values."""

from collections.abc import Mapping
from dataclasses import replace

from search.experiment.experiment import Experiment
from search.experiment.yaml_source import Plain

_KEYS = ("max_restarts", "deadline")
"""Of the section `search`."""


def without_patience(tree: Mapping[str, Plain]) -> dict[str, Plain]:
    """An experiment's tree but for these settings. Pure."""
    search = tree.get("search")
    if not isinstance(search, Mapping):
        return dict(tree)
    kept = {key: value for key, value in search.items() if key not in _KEYS}
    return {key: kept if key == "search" else value for key, value in tree.items() if key != "search" or kept}


def with_patience_of(experiment: Experiment, asked: Experiment) -> Experiment:
    """An experiment with these settings as another one has them. Pure."""
    return replace(
        experiment,
        search=experiment.search.model_copy(update={key: getattr(asked.search, key) for key in _KEYS}),
    )
