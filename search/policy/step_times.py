"""How long the steps after a search take: final trainings and scoring. Pure functions of plain values."""

from dataclasses import dataclass
from math import ceil

MARGIN = 1.25
"""Multiplies estimated durations of final trainings and scoring: other load, and what is not counted."""
PACED_MARGIN = 1.1
"""The same once a final training has shown its pace."""
_SCORING_SHARE, _FEWEST_SCORING_S = 0.05, 30.0
"""For scoring at least, which also reads the photos. The seconds are for loading models and writing the submission."""
MOST_OTHER_SHARE = 0.3
"""Of the hours, for ensemble and scoring together, until a final model has shown its pace."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What follows the search."""

    folds: int = 1
    """As the file asks."""
    most_folds: int = 5
    """As many as are worth their time, if there is time left after the search."""
    has_other: bool = False
    """Whether a trial of another backbone can be trained beside the winner, on folds of its own. While the search runs,
    the shortest such training has its time reserved."""
    is_refitted: bool = False
    """Whether one more training takes all photos."""
    is_compared: bool = False
    """Whether the first fold is trained twice before the others, with and without extra photos."""
    is_pseudo: bool = False
    """Whether all folds may be trained once more with pseudo-labels, the first before the others."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known so far."""

    training_s: float | None = None
    """Seconds of one final training on the search's split; None before a trial has had all its stages."""
    at_once: int = 1
    """Final trainings that run at once."""
    train_share: float | None = None
    """Share of the labelled photos that the search trains on; None: `training_s` is that of a fold, however many."""
    model_s: float | None = None
    """Seconds that one model takes to predict the photos of the submission; None if unknown."""
    predicted_s: float | None = None
    """The same of the final models that are there, together; None before there is one."""
    pseudo_share: float = 0.0
    """Photos that may get pseudo-labels, over the labelled ones."""


def final_s(folds: int, wishes: Wishes, measured: Measured, *, margin: float = MARGIN) -> float:
    """Estimated seconds of so many final trainings, and the one on all photos. 0 before any is measured."""
    rounds, share = final_rounds(folds, wishes, at_once=measured.at_once), measured.train_share
    trainings = (rounds - wishes.is_refitted) * fold_share(folds, share) + wishes.is_refitted * _refit_share(share)
    with_pseudo = (_second_rounds(folds, at_once=measured.at_once) + wishes.is_refitted) if wishes.is_pseudo else 0
    trainings += with_pseudo * measured.pseudo_share * _refit_share(share)
    return margin * trainings * (measured.training_s or 0.0)


def fold_share(folds: int, train_share: float | None, *, pseudo_share: float = 0.0) -> float:
    """Seconds of a training on one of so many folds over those of one on the search's split.

    By passes through the backbone: one forward for each photo, and a backward one, which takes twice as long, for those
    that train. pseudo_share: photos with pseudo-labels, over the labelled ones.
    """
    more = pseudo_share * _refit_share(train_share)
    if folds == 1 or train_share is None:
        return 1.0 + more
    return (3.0 - 2.0 / folds) / (1.0 + 2.0 * train_share) + more


def _refit_share(train_share: float | None) -> float:
    """The same of a training on all photos."""
    return 1.0 if train_share is None else 3.0 / (1.0 + 2.0 * train_share)


def final_rounds(folds: int, wishes: Wishes, *, at_once: int) -> int:
    """Final trainings that follow one another, if so many at once run side by side."""
    is_measured = wishes.is_compared or wishes.is_pseudo
    if wishes.is_refitted and folds == 1 and not is_measured:
        return 1  # the search's trial tells its length
    first = ceil(2 / at_once) + ceil((folds - 1) / at_once) if wishes.is_compared else ceil(folds / at_once)
    return first + wishes.is_pseudo * _second_rounds(folds, at_once=at_once) + wishes.is_refitted


def _second_rounds(folds: int, *, at_once: int) -> int:
    """The same of trainings with pseudo-labels: the first fold, which is judged, then the others."""
    return 1 + ceil((folds - 1) / at_once)


def models_of(folds: int, wishes: Wishes) -> int:
    """Models that the submission averages after final trainings of so many folds, of all backbones together."""
    return 1 if wishes.is_refitted or not folds else folds


def scoring_s(total_s: float, models: int, measured: Measured) -> float:
    """Of so many models, or of the final ones that are there."""
    fewest = max(_SCORING_SHARE * total_s, _FEWEST_SCORING_S)
    if measured.predicted_s is not None:
        return max(fewest, _FEWEST_SCORING_S + PACED_MARGIN * measured.predicted_s)
    if measured.model_s is None:
        return fewest
    estimated = max(fewest, _FEWEST_SCORING_S + MARGIN * models * measured.model_s)
    return min(estimated, max(MOST_OTHER_SHARE * total_s, fewest))


def more_scoring_s(total_s: float, models: int, than: int, measured: Measured) -> float:
    """By how much scoring with so many models takes longer than with `than`; 0 if it does not."""
    return scoring_s(total_s, max(models, than), measured) - scoring_s(total_s, than, measured)
