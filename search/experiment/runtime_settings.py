"""Settings that do not affect what is trained: how long a silent process may run, and how often it is restarted.

A later call of the same training may change them.
"""

from collections.abc import Mapping
from dataclasses import replace

from search.experiment.experiment import Experiment
from search.experiment.file.yaml_source import Plain

_KEYS = ("max_restarts", "deadline")
"""In the section `search`."""


def without_runtime_settings(tree: Mapping[str, Plain]) -> dict[str, Plain]:
    """An experiment's tree without these settings. Pure."""
    search = tree.get("search")
    if not isinstance(search, Mapping):
        return dict(tree)
    kept = {key: value for key, value in search.items() if key not in _KEYS}
    return {key: kept if key == "search" else value for key, value in tree.items() if key != "search" or kept}


def with_runtime_settings_of(experiment: Experiment, asked: Experiment) -> Experiment:
    """An experiment with these settings taken from another one. Pure."""
    return replace(
        experiment,
        search=experiment.search.model_copy(update={key: getattr(asked.search, key) for key in _KEYS}),
    )
