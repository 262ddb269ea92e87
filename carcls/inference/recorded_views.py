"""The sets of views that recorded models have a prior for, and what they say of the photos at hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.inference.tta import PLAIN, ByView, average
from carcls.inference.view_priors import Priors, ViewPrior, Views
from carcls.scoring.choices import is_as_good, scaled
from carcls.scoring.gains import Normal, ViewEvidence, mean_gain, updated

Rows = NDArray[np.integer]
"""Photos, by their place."""


@dataclass(frozen=True, eq=False, slots=True)
class RecordedViews:
    """Sets of views, smallest first."""

    views: tuple[Views, ...]
    priors: tuple[ViewPrior, ...]
    saved: NDArray[np.float64]
    """(sets, n) temperature-scaled log-loss that each saves over plain, in nats; one temperature for each set."""
    misses: NDArray[np.float64]
    """(sets + 1, n) 1 where the answer is wrong; plain's last."""
    units: NDArray[np.integer]
    """(n,) one number for photos that look alike."""

    @classmethod
    def of(
        cls, by_view: ByView, labels: NDArray[np.integer], units: NDArray[np.integer], priors: Priors
    ) -> "RecordedViews":
        """The sets whose views are all in `by_view`. by_view: (n, classes) of each; labels, units: (n,)."""
        # Sorted, so that neither the order of `by_view` nor that of `priors` decides between equal sets.
        views = sorted((some for some in priors if set(some) <= set(by_view)), key=lambda some: (len(some), some))
        answers = [average(by_view, some) for some in (*views, (PLAIN,))]
        losses = np.stack([scaled(answer, labels).losses for answer in answers])
        misses = np.stack([answer.argmax(axis=1) != labels for answer in answers]).astype(np.float64)
        return cls(tuple(views), tuple(priors[some] for some in views), losses[-1] - losses[:-1], misses, units)

    def best(self, rows: Rows) -> Views:
        """The set with the highest posterior mean above 0 by these photos, or `plain` alone.

        A set is passed over where it is less accurate than plain by more than one standard error.
        """
        chosen: Views = (PLAIN,)
        best = 0.0
        for place, views in enumerate(self.views):
            expected = self._posterior(place, rows).mean
            if expected > best and self._is_as_accurate(place, rows):
                chosen, best = views, expected
        return chosen

    def evidence(self, rows: Rows) -> ViewEvidence | None:
        """Of the chosen set, or of the one with the highest posterior mean where plain is chosen; None without sets."""
        if not self.views:
            return None
        chosen = self.best(rows)
        means = [self._posterior(place, rows).mean for place in range(len(self.views))]
        highest = int(np.argmax(np.nan_to_num(means, nan=-np.inf)))
        place = self.views.index(chosen) if chosen in self.views else highest
        prior, measured = self.priors[place], self.measured(place, rows)
        return ViewEvidence.of(self.views[place], prior.gain, measured, models=prior.models, data_sets=prior.data_sets)

    def measured(self, place: int, rows: Rows) -> Normal:
        """The gain of a set on these photos."""
        return mean_gain(self.saved[place, rows], self.units[rows])

    def _posterior(self, place: int, rows: Rows) -> Normal:
        return updated(self.priors[place].gain, self.measured(place, rows))

    def _is_as_accurate(self, place: int, rows: Rows) -> bool:
        return not len(rows) or is_as_good(self.misses[place, rows], self.misses[-1, rows])
