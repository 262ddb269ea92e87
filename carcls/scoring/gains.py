"""What a choice gains: a normal prior, updated by paired differences of photos. Pure functions.

Gains are in nats per photo, positive where the choice is better. A prior and a measured mean are weighted by the
inverse of their variances, which is exact for two normal distributions.
"""

from dataclasses import dataclass
from math import inf, isinf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FEWEST_UNITS = 10
"""Fewer differences cannot tell their own spread: two equal ones would claim to be certain."""


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution of a mean gain."""

    mean: float
    sd: float
    """Of the mean; infinite where nothing is known, 0 where nothing is left to learn."""

    @property
    def probability(self) -> float:
        """That the gain is above 0; 0.5 where nothing is known."""
        if isinf(self.sd):
            return 0.5
        return NormalDist(0.0, self.sd).cdf(self.mean) if self.sd else float(self.mean > 0)


def mean_gain(differences: NDArray[np.floating], units: NDArray[np.integer]) -> Normal:
    """Mean of differences (n,) with its standard error.

    units: (n,) photos with one number look alike, and their errors count as one. With fewer than `FEWEST_UNITS` units
    the error is infinite. NaN among the differences makes the mean NaN.
    """
    if not len(differences):
        return Normal(0.0, inf)
    mean = float(np.mean(differences))
    _, places = np.unique(units, return_inverse=True)
    count = int(places.max()) + 1
    if count < FEWEST_UNITS:
        return Normal(mean, inf)
    residuals = np.bincount(places, weights=differences - mean)
    return Normal(mean, sqrt(count / (count - 1) * float(np.square(residuals).sum())) / len(differences))


def updated(prior: Normal, measured: Normal) -> Normal:
    """The posterior. Raises ValueError where the prior leaves nothing to learn."""
    if not prior.sd > 0:
        raise ValueError(f"prior: expected a standard deviation above 0, found {prior.sd}")
    if isinf(measured.sd):
        return prior
    if isinf(prior.sd):
        return measured
    weight = prior.sd**2 / (prior.sd**2 + measured.sd**2)
    return Normal(prior.mean + weight * (measured.mean - prior.mean), sqrt(weight) * measured.sd)


@dataclass(frozen=True, slots=True)
class ViewEvidence:
    """What is known of the gain of a set of TTA views over `plain`: scaled log-loss saved, in nats per photo."""

    views: tuple[str, ...]
    measured: float
    """On the photos at hand, each predicted by a model that did not train on it."""
    measured_error: float | None
    """Standard error; None with too few photos to tell."""
    prior: float
    """Mean over the data sets of recorded models."""
    prior_sd: float
    """Of the gain on one more data set."""
    models: int
    data_sets: int
    posterior: float
    posterior_sd: float

    @classmethod
    def of(
        cls, views: tuple[str, ...], prior: Normal, measured: Normal, *, models: int, data_sets: int
    ) -> "ViewEvidence":
        """With the posterior of both."""
        posterior = updated(prior, measured)
        return cls(
            views=views,
            measured=measured.mean,
            measured_error=None if isinf(measured.sd) else measured.sd,
            prior=prior.mean,
            prior_sd=prior.sd,
            models=models,
            data_sets=data_sets,
            posterior=posterior.mean,
            posterior_sd=posterior.sd,
        )

    @property
    def probability(self) -> float:
        """Posterior probability that the views save anything."""
        return Normal(self.posterior, self.posterior_sd).probability

    def line(self) -> str:
        """For the terminal and the report."""
        error = "" if self.measured_error is None else f" ± {self.measured_error:.4f}"
        return (
            f"{', '.join(self.views)}: save {self.measured:+.4f}{error} nats a photo here,"
            f" {self.prior:+.4f} ± {self.prior_sd:.4f} by {self.models} recorded models of {self.data_sets} data"
            f" set{'s' if self.data_sets > 1 else ''}, {self.posterior:+.4f} ± {self.posterior_sd:.4f} by both"
        )
