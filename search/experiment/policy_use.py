"""How an experiment uses the augmentation policies that it has as files."""

from search.experiment.checks import corners
from search.experiment.experiment import Experiment


def trains_on_rectangles(experiment: Experiment) -> bool:
    """Whether a trial or the final training may see photos that are no squares, which a policy must not turn.

    Image size and policy are domains of their own, so it is one answer for all policies.
    """
    trials = [experiment.bind(params) for params in corners(experiment.space, experiment.baseline)]
    return not all(config.is_square and experiment.retrain_config(config).is_square for config in trials)
