"""What is expected of an ensemble of final trainings on new photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.dataset.table import ImageTable
from carcls.scoring.metrics import accuracy
from carcls.splits.split import Split
from search.ensemble.expectation import expected_of
from search.ensemble.selectable import Candidate, Photos
from search.study.final_scores import Expected
from search.study.unseen_answers import UnseenAnswers

CLASSES, LABELLED, UNSEEN = 5, 2_000, 2_000
RNG = np.random.default_rng(0)
TRUTH = 2.0 * RNG.normal(size=(LABELLED + UNSEEN, CLASSES))
LABELS = (TRUTH + RNG.gumbel(size=TRUTH.shape)).argmax(axis=1)
IDS = tuple(map(str, range(UNSEEN)))


def table(labels: np.ndarray) -> ImageTable:
    names = tuple(map(str, range(len(labels))))
    return ImageTable(Path("r"), names, names, labels, names)


PHOTOS = Photos(
    split=Split(tuple("abcde"), table(LABELS[500:LABELLED]), table(LABELS[:500])),
    ids=tuple(map(str, range(LABELLED))),
    labels=LABELS[:LABELLED],
    units=np.arange(LABELLED),
    rows=np.arange(0),
)


def models(seed: int, count: int) -> np.ndarray:
    """(count, photos, classes) of noisy models around the truth."""
    logits = TRUTH + 1.2 * np.random.default_rng(seed).normal(size=(count, *TRUTH.shape))
    raised = np.exp(logits - logits.max(axis=2, keepdims=True))
    return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)


def folds(seed: int, count: int) -> Candidate:
    said = models(seed, count)
    own = said[np.arange(LABELLED) % count, np.arange(LABELLED)]
    unseen = UnseenAnswers(IDS, ("plain",), said[:, LABELLED:])
    return Candidate("folds", (), own.astype(np.float64), 1.0, by_view={"plain": own}, unseen=unseen, trial=seed)


FIRST, SECOND = folds(1, 4), folds(2, 3)
BOTH = ((FIRST, 0.5), (SECOND, 0.5))
JUDGED = accuracy((FIRST.probabilities + SECOND.probabilities) / 2, PHOTOS.labels)


def told(selected=BOTH, *, judged: float = JUDGED, luck: float = 0.0) -> Expected:
    found = expected_of(selected, PHOTOS, judged=judged, luck=luck)
    assert found is not None
    return found


def test_it_is_near_what_all_models_together_reach() -> None:
    together = (models(1, 4)[:, LABELLED:].mean(axis=0) + models(2, 3)[:, LABELLED:].mean(axis=0)) / 2
    reached = accuracy(together, LABELS[LABELLED:])
    found = told()
    assert found.of == "the ensemble"
    assert found.low < reached < found.high
    assert reached > JUDGED + 0.02, "all models are better than one of each"
    assert abs(found.accuracy - reached) < 0.03
    assert told([(FIRST, 1.0)], judged=accuracy(FIRST.probabilities, PHOTOS.labels)).accuracy < found.accuracy


def test_what_was_chosen_by_luck_is_taken_off() -> None:
    as_judged, less = told(), told(judged=JUDGED - 0.04)
    assert less.accuracy < as_judged.accuracy
    lucky = told(luck=0.16)
    assert lucky.accuracy == pytest.approx(less.accuracy), "of a quarter of the photos, which chose the winner"


def test_without_answers_to_the_same_unseen_photos_it_is_unknown() -> None:
    assert SECOND.unseen is not None
    few = replace(SECOND.unseen, ids=IDS[:9], said=SECOND.unseen.said[:, :9])
    for other in (
        replace(SECOND, unseen=None),
        replace(SECOND, unseen=replace(SECOND.unseen, ids=("x", *IDS[1:]))),
        replace(SECOND, unseen=replace(SECOND.unseen, views=("plain", "flip"))),
        replace(SECOND, unseen=replace(SECOND.unseen, said=SECOND.unseen.said[:, :, :4])),
        replace(SECOND, by_view=None),
    ):
        assert expected_of(((FIRST, 0.5), (other, 0.5)), PHOTOS, judged=JUDGED, luck=0.0) is None
    assert expected_of([(replace(SECOND, unseen=few), 1.0)], PHOTOS, judged=JUDGED, luck=0.0) is None
