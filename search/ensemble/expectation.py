"""What accuracy to expect of an ensemble of final trainings on new photos."""

from collections.abc import Sequence

import numpy as np

from carcls.inference.tta import average
from carcls.scoring.averages import KEPT, KEPT_OF_SEVERAL, members_of_several, of_average
from carcls.scoring.gains import FEWEST_UNITS
from carcls.scoring.metrics import accuracy
from search.ensemble.selectable import Candidate, Photos
from search.study.final_scores import Expected


def expected_of(
    selected: Sequence[tuple[Candidate, float]], photos: Photos, *, judged: float, luck: float
) -> Expected | None:
    """The expectation of a weighted average of final trainings on folds.

    selected: candidates with their shares. photos: those that judge. judged: accuracy of the average of one model of
    each, with views, members and shares chosen without the photo. luck: of the search's choice, see
    `search.study.expected.luck_of_choice`, on the validation photos of its split.

    None if a candidate is not on folds, or if they do not keep what they say of the same photos that none has seen.
    """
    answers = [one.unseen for one, _ in selected]
    kept = [one for one in answers if one is not None]
    if len(kept) < len(selected) or len({one.ids for one in kept}) != 1 or len(kept[0].ids) < FEWEST_UNITS:
        return None
    class_count = len(photos.split.class_names)
    shares, said = [share for _, share in selected], np.zeros((len(photos.labels), class_count))
    for (one, share), own in zip(selected, kept, strict=True):
        if one.by_view is None or not set(own.views) <= set(one.by_view) or own.said.shape[2] != class_count:
            return None
        said += share * average(one.by_view, own.views)
    search_share = len(photos.split.validation) / len(photos.labels)
    found = of_average(
        said,
        photos.labels,
        members_of_several([own.said for own in kept], shares),
        correction=judged - accuracy(said, photos.labels) - search_share * luck,
        kept=KEPT_OF_SEVERAL if len(selected) > 1 else KEPT,
    )
    return Expected(found.accuracy, found.low, found.high, of="the ensemble")
