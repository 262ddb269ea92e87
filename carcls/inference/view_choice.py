"""Which views to average: a prior from recorded models, updated by the photos at hand. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.inference.recorded_views import RecordedViews
from carcls.inference.tta import PLAIN, ByView, average
from carcls.inference.view_priors import Priors, Views
from carcls.scoring.bootstrap import mean_interval, unit_parts
from carcls.scoring.gains import ViewEvidence
from carcls.scoring.metrics import SMALLEST_PROBABILITY, accuracy, log_loss

CROSS_FIT_PARTS = 5

Labels = NDArray[np.integer]
Units = NDArray[np.integer]
"""(n,) one number for photos that look alike."""


@dataclass(frozen=True, slots=True)
class TtaChoice:
    """Which views to average, and what the photos and the prior say about it."""

    views: Views
    """`plain` first; `plain` alone where averaging is not worth it."""
    plain_log_loss: float
    tta_log_loss: float
    """Cross-fitted, as `tta_accuracy`: each photo scored by views that were chosen without it."""
    plain_accuracy: float
    tta_accuracy: float
    interval: tuple[float, float]
    """Central bootstrap interval of the mean log-loss that these views save per photo, in nats; above 0 is better."""
    helps: bool
    evidence: ViewEvidence | None = None
    """Of the best set of views with a prior, whether in use or not; None without any."""

    @property
    def accuracy(self) -> float:
        """Of the views in use."""
        return self.tta_accuracy if self.helps else self.plain_accuracy


def choose_views(
    by_view: ByView,
    labels: Labels,
    *,
    confidence: float,
    seed: int,
    priors: Priors | None = None,
    units: Units | None = None,
) -> TtaChoice:
    """The views with the highest expected gain, or `plain` alone where none is expected to gain; pure.

    A set of views with a prior is compared by the posterior mean of its gain, see `RecordedViews.best`: the prior
    from recorded models, updated with paired differences on these photos. Uncertainty counts in both directions.

    A view without a prior is added, greedily by log-loss, only on the evidence of these photos. Views look best on the
    photos that chose them, so the views chosen on four fifths of the photos are scored on the last fifth, in turn. They
    are kept when the whole `confidence` interval of the log-loss that they save (paired bootstrap, Efron 1979, 2000
    resamples) lies above 0 and cross-fitted accuracy is no lower. The way of choosing is tested, with a fifth
    fewer photos than the final choice has, which errs towards refusal; the parts share photos, which makes the interval
    a little too narrow.

    by_view: probabilities (n, classes) per view, `plain` among them; sets with a value that is not finite are skipped.
    labels: (n,) class indices. confidence: of central intervals, in (0, 1). priors: of sets of views, by default none.
    units: by default each photo is its own. Raises ValueError for shapes that do not match or fewer than two photos.
    """
    units = np.arange(len(labels)) if units is None else np.asarray(units)
    _check(by_view, labels, units, confidence)
    recorded = RecordedViews.of(by_view, labels, units, priors or {})
    extra = sorted(set(by_view) - {PLAIN}.union(*recorded.views))
    parts = unit_parts(units, CROSS_FIT_PARTS, np.random.default_rng(seed))
    by_prior = _cross_fitted(by_view, labels, recorded, (), parts)
    extended = _cross_fitted(by_view, labels, recorded, extra, parts) if extra else by_prior

    def saved(before: NDArray[np.floating], after: NDArray[np.floating]) -> tuple[float, float]:
        differences = _log_losses(before, labels) - _log_losses(after, labels)
        return mean_interval(differences, confidence, np.random.default_rng((seed, 1)), units)

    everything = np.arange(len(labels))
    views = recorded.best(everything)
    is_extended = saved(by_prior, extended)[0] > 0 and accuracy(extended, labels) >= accuracy(by_prior, labels)
    # Without views in use, report those that were tried and rejected, to show why.
    judged = extended if is_extended or len(views) == 1 else by_prior
    if is_extended:
        views = _forward(by_view, views, extra, labels)
    plain = np.asarray(by_view[PLAIN])
    return TtaChoice(
        views=views,
        plain_log_loss=float(_log_losses(plain, labels).mean()),
        tta_log_loss=float(_log_losses(judged, labels).mean()),
        plain_accuracy=accuracy(plain, labels),
        tta_accuracy=accuracy(judged, labels),
        interval=saved(plain, judged),
        helps=len(views) > 1,
        evidence=recorded.evidence(everything),
    )


def plain_only(plain: NDArray[np.floating], labels: Labels) -> TtaChoice:
    """The choice where there are too few photos to make one; pure. plain: (n, classes) probabilities, labels: (n,)."""
    right, loss = accuracy(plain, labels), log_loss(plain, labels)
    return TtaChoice(
        views=(PLAIN,),
        plain_log_loss=loss,
        tta_log_loss=loss,
        plain_accuracy=right,
        tta_accuracy=right,
        interval=(0.0, 0.0),
        helps=False,
    )


def _check(by_view: ByView, labels: Labels, units: Units, confidence: float) -> None:
    if PLAIN not in by_view:
        raise ValueError(f"by_view: needs the {PLAIN!r} view, found {', '.join(by_view) or 'none'}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: expected a number between 0 and 1, found {confidence}")
    if len(labels) < 2:
        raise ValueError(f"labels: choosing views needs at least 2 photos, found {len(labels)}")
    if units.shape != (len(labels),):
        raise ValueError(f"units: expected shape {(len(labels),)}, found {units.shape}")
    shape = (len(labels), np.shape(by_view[PLAIN])[-1])
    for view, probabilities in by_view.items():
        if np.shape(probabilities) != shape:
            raise ValueError(f"by_view[{view!r}]: expected shape {shape}, found {np.shape(probabilities)}")


def _log_losses(probabilities: NDArray[np.floating], labels: Labels) -> NDArray[np.float64]:
    """(n,) in nats, one per photo; their mean is `metrics.log_loss`."""
    of_label = np.asarray(probabilities)[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(of_label, SMALLEST_PROBABILITY, 1.0))


def _forward(by_view: ByView, start: Views, extra: Sequence[str], labels: Labels) -> Views:
    """Starting from `start`, repeatedly adds the view that lowers the average's log-loss most, until none does."""
    chosen, left = list(start), list(extra)

    def loss(views: Sequence[str]) -> float:
        return float(_log_losses(average(by_view, views), labels).mean())

    best = loss(chosen)
    while left:
        scores = [loss([*chosen, view]) for view in left]
        position = int(np.argmin(scores))
        if not scores[position] < best:
            break
        best = scores[position]
        chosen.append(left.pop(position))
    return tuple(chosen)


def _cross_fitted(
    by_view: ByView,
    labels: Labels,
    recorded: RecordedViews,
    extra: Sequence[str],
    parts: Sequence[NDArray[np.int64]],
) -> NDArray[np.float32]:
    """Probabilities (n, classes): each photo's under the views chosen on the other parts."""
    held_out = np.empty_like(by_view[PLAIN], dtype=np.float32)
    for part in parts:
        others = np.setdiff1d(np.arange(len(labels)), part)
        views = recorded.best(others)
        if len(others):
            views = _forward({view: by_view[view][others] for view in by_view}, views, extra, labels[others])
        held_out[part] = average({view: by_view[view][part] for view in views}, views)
    return held_out
