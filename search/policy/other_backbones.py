"""The first trials of a run whose hours are planned as a whole: the baseline with each other backbone. Pure."""

from search.experiment.domains import Choice, Value
from search.experiment.experiment import Experiment

_MOST = 3
"""More would be much of a short search."""


def other_backbones(experiment: Experiment) -> tuple[dict[str, Value], ...]:
    """Points of the space: the baseline with another option of one choice, for each backbone that this brings.

    In file order, at most three. What only that option has is at its default. Such a run averages two backbones in the
    end, and random draws may not try one until it is too late for its final training.
    """
    first = experiment.bind(experiment.baseline)
    seen, found = {(first.backbone, first.alpha)}, []
    for parameter in experiment.space.parameters:
        if not isinstance(parameter.domain, Choice) or parameter.name not in experiment.baseline:
            continue
        for option in parameter.domain.values:
            params = _with_option(experiment, parameter.name, option)
            config = experiment.bind(params)  # valid: loading the file has tried the same points
            if (config.backbone, config.alpha) not in seen:
                seen.add((config.backbone, config.alpha))
                found.append(params)
    return tuple(found[:_MOST])


def _with_option(experiment: Experiment, name: str, option: Value) -> dict[str, Value]:
    values = {**experiment.baseline, name: option}
    return experiment.space.collect(lambda one: values.get(one.name, one.domain.default()))
