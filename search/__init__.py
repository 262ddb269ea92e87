"""Decides which configurations to train, where and for how long, and remembers everything.

The Python interface, imported when first used:

load, build, for_photos      an experiment from a file, a dictionary, or a folder of photos
choice, uniform, loguniform  what may stand in place of a value
run                          searches, and returns a Study
stream                       searches, and yields its events
Study                        trials, curves and plots; resume, retrain, submit, report
predict                      classifies photos with a model file
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api.domains import choice, loguniform, uniform
    from search.api.experiments import build, for_photos, load
    from search.api.prediction import predict
    from search.api.study import Study, run, stream

__all__ = ["Study", "build", "choice", "for_photos", "load", "loguniform", "predict", "run", "stream", "uniform"]

_HOMES = {
    "Study": "study",
    "build": "experiments",
    "choice": "domains",
    "for_photos": "experiments",
    "load": "experiments",
    "loguniform": "domains",
    "predict": "prediction",
    "run": "study",
    "stream": "study",
    "uniform": "domains",
}
"""The module in `search.api` of each name. Importing them here would make every command wait for all of them."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the names
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    with warnings.catch_warnings():  # Optuna's tqdm asks notebooks for widgets, which are not needed
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(import_module(f"search.api.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
