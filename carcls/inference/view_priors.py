"""What averaging views gained for recorded models: the prior of a set of views.

`view_priors.json` holds a row for each recorded study. `python -m benchmarks.views STUDY... --write` makes it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import sqrt
from typing import Any

import numpy as np

from carcls.scoring.gains import Normal

TABLE = "view_priors.json"

Views = tuple[str, ...]
"""A set of views: `plain` first, then in the order of `tta.VIEWS`."""


@dataclass(frozen=True, slots=True)
class RecordedStudy:
    """What views gained in the final training of one study, on photos that its models did not train on."""

    data_set: str
    study: str
    models: int
    photos: int
    gains: Mapping[Views, Normal]
    """Temperature-scaled log-loss that each set of views saves over `plain`, in nats per photo."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RecordedStudy":
        """Inverse of `to_json`."""
        gains = {tuple(views.split("+")): Normal(*gain) for views, gain in values["gains"].items()}
        return cls(values["data_set"], values["study"], values["models"], values["photos"], gains)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a row of the table; nats to five decimals."""
        gains = {"+".join(views): [round(gain.mean, 5), round(gain.sd, 5)] for views, gain in self.gains.items()}
        return {
            "data_set": self.data_set,
            "study": self.study,
            "models": self.models,
            "photos": self.photos,
            "gains": gains,
        }


@dataclass(frozen=True, slots=True)
class ViewPrior:
    """What to expect of a set of views before a photo is seen."""

    gain: Normal
    models: int
    data_sets: int


Priors = Mapping[Views, ViewPrior]


def priors_of(studies: Iterable[RecordedStudy]) -> Priors:
    """The prior of each recorded set of views; pure.

    The mean is over data sets, each of which counts once: its studies share photos. The standard deviation is that of
    the gain on one more data set. It is at least the error with which the gain on one data set is known, so that a few
    data sets that happen to agree are not taken for certainty.
    """
    by_views: dict[Views, list[RecordedStudy]] = defaultdict(list)
    for study in studies:
        for views in study.gains:
            by_views[views].append(study)
    return {views: _prior(views, some) for views, some in by_views.items()}


def _prior(views: Views, studies: list[RecordedStudy]) -> ViewPrior:
    by_data_set: dict[str, list[float]] = defaultdict(list)
    for study in studies:
        by_data_set[study.data_set].append(study.gains[views].mean)
    means = [float(np.mean(gains)) for gains in by_data_set.values()]
    between = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    measuring = float(np.mean([study.gains[views].sd ** 2 for study in studies]))
    sd = sqrt(max(between, measuring) * (1.0 + 1.0 / len(means)))
    return ViewPrior(Normal(float(np.mean(means)), sd), sum(study.models for study in studies), len(means))


@cache
def recorded_priors() -> Priors:
    """Of the studies in the shipped table."""
    table = json.loads(files("carcls.inference").joinpath(TABLE).read_text(encoding="utf-8"))
    return priors_of(RecordedStudy.from_json(row) for row in table["studies"])
