"""How an experiment uses the augmentation policies that it has as files."""

from collections.abc import Iterator

from search.experiment.checks import corners
from search.experiment.experiment import Experiment
from search.experiment.file.paths import policy_files


def policies_in_use(experiment: Experiment) -> Iterator[tuple[str, bool]]:
    """Path of each policy file, and whether it may see photos that are no squares, which it must not turn.

    Image size and policy are domains of their own, so that is one answer for all of them.
    """
    paths = [path for _, path in policy_files(dict(experiment.tree))]
    rectangles = bool(paths) and _trains_on_rectangles(experiment)
    for path in paths:
        yield path, rectangles


def _trains_on_rectangles(experiment: Experiment) -> bool:
    """Whether a trial or the final training may."""
    trials = [experiment.bind(params) for params in corners(experiment.space, experiment.baseline)]
    return not all(config.is_square and experiment.retrain_config(config).is_square for config in trials)
