"""The page's section about what the best model gets wrong. Pure; photos come as data URLs, see `photos.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from carcls.scoring.diagnosis import (
    ClassScore,
    Reliability,
    class_scores,
    doubtful_labels,
    mistakes,
    reliability,
    worst_pairs,
)
from carcls.scoring.metrics import confusion
from search.study.predictions import Predictions

_MOST_PAIRS, _PAIR_PHOTOS = 4, 4
_MOST_SHOWN = 18
_MOST_DOUBTS = 12
_MATRIX_CLASSES = 30
"""Classes in the confusion matrix; of more, those with the most mistakes."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo with its label and the model's answer."""

    path: str
    true: str
    predicted: str
    confidence: float
    """Probability of the predicted class."""
    true_probability: float
    url: str | None = None
    """A data URL; None if the photo was not found."""


@dataclass(frozen=True, slots=True)
class PairView:
    """Two classes taken for one another: photos of the mistakes beside well recognised photos of both."""

    true: str
    predicted: str
    count: int
    wrong: tuple[Photo, ...]
    of_true: tuple[Photo, ...]
    of_predicted: tuple[Photo, ...]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class's scores."""

    name: str
    score: ClassScore
    taken_for: str
    """The class it is most often taken for, with the count; '' without a mistake."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Confusion counts; rows are true classes."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    left_out: int
    """Classes with fewer mistakes that are not shown."""


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What the best model gets wrong on photos that it did not train on."""

    of: str
    photos: int
    wrong: int
    matrix: Matrix
    classes: tuple[ClassRow, ...]
    """The lowest recall first."""
    pairs: tuple[PairView, ...]
    confident: tuple[Photo, ...]
    """The most confident mistakes first."""
    reliability: Reliability
    doubts: tuple[Photo, ...]
    """Photos that are likely mislabelled, the most doubtful first; `predicted` is the suggested class."""
    doubt_count: int
    photos_found: bool = field(default=True)
    """False if the page shows no photo because the data folder is gone."""


def mistakes_view(said: Predictions) -> Mistakes:
    """The section without photos. Pure; `with_photos` adds them."""
    probabilities, labels, names = said.probabilities, said.labels, said.class_names
    wrong, doubts = mistakes(probabilities, labels), doubtful_labels(probabilities, labels)
    counts = confusion(probabilities, labels)
    pairs = worst_pairs(probabilities, labels, most=_MOST_PAIRS)
    return Mistakes(
        of=said.of,
        photos=len(labels),
        wrong=len(wrong),
        matrix=_matrix(counts, names),
        classes=tuple(
            ClassRow(names[one.label], one, _taken_for(counts, one.label, names))
            for one in sorted(class_scores(probabilities, labels), key=_by_recall)
        ),
        pairs=tuple(_pair_view(said, pair.true, pair.predicted, pair.count) for pair in pairs),
        confident=tuple(_photo(said, int(row)) for row in wrong[:_MOST_SHOWN]),
        reliability=reliability(probabilities, labels),
        doubts=tuple(_photo(said, one.row, one.suggested) for one in doubts[:_MOST_DOUBTS]),
        doubt_count=len(doubts),
    )


def mistake_rows(said: Predictions) -> list[tuple[str, str, str, float, float, bool]]:
    """Every mistake for mistakes.csv: path, label, predicted class, its probability, that of the label, and whether the
    label itself is doubtful. The most confident first."""
    doubtful = {one.row for one in doubtful_labels(said.probabilities, said.labels)}
    photos = ((int(row), _photo(said, int(row))) for row in mistakes(said.probabilities, said.labels))
    return [
        (one.path, one.true, one.predicted, one.confidence, one.true_probability, row in doubtful)
        for row, one in photos
    ]


def shown_paths(view: Mistakes) -> tuple[str, ...]:
    """Paths of all photos that the section shows, each once."""
    pairs = [photo for pair in view.pairs for photo in (*pair.wrong, *pair.of_true, *pair.of_predicted)]
    return tuple(dict.fromkeys(photo.path for photo in (*pairs, *view.confident, *view.doubts)))


def _by_recall(one: ClassScore) -> tuple[bool, float, int]:
    return (one.recall is None, one.recall or 0.0, one.label)


def _taken_for(counts: np.ndarray, label: int, names: tuple[str, ...]) -> str:
    others = counts[label].copy()
    others[label] = 0
    worst = int(others.argmax())
    return f"{names[worst]} ({others[worst]})" if others[worst] else ""


def _matrix(counts: np.ndarray, names: tuple[str, ...]) -> Matrix:
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown = np.sort(np.argsort(-wrong, kind="stable")[:_MATRIX_CLASSES])
    part = counts[np.ix_(shown, shown)]
    return Matrix(
        names=tuple(names[at] for at in shown),
        counts=tuple(tuple(int(count) for count in row) for row in part),
        left_out=len(names) - len(shown),
    )


def _pair_view(said: Predictions, true: int, predicted: int, count: int) -> PairView:
    answers, confidence = said.probabilities.argmax(axis=1), said.probabilities.max(axis=1)

    def best_of(rows: np.ndarray) -> tuple[Photo, ...]:
        chosen = rows[np.argsort(-confidence[rows], kind="stable")][:_PAIR_PHOTOS]
        return tuple(_photo(said, int(row)) for row in chosen)

    def recognised(label: int) -> tuple[Photo, ...]:
        return best_of(np.flatnonzero((said.labels == label) & (answers == label)))

    return PairView(
        true=said.class_names[true],
        predicted=said.class_names[predicted],
        count=count,
        wrong=best_of(np.flatnonzero((said.labels == true) & (answers == predicted))),
        of_true=recognised(true),
        of_predicted=recognised(predicted),
    )


def _photo(said: Predictions, row: int, suggested: int | None = None) -> Photo:
    label = int(said.labels[row])
    answer = int(said.probabilities[row].argmax()) if suggested is None else suggested
    return Photo(
        path=said.paths[row],
        true=said.class_names[label],
        predicted=said.class_names[answer],
        confidence=float(said.probabilities[row, answer]),
        true_probability=float(said.probabilities[row, label]),
    )


def with_photos(view: Mistakes, urls: Mapping[str, str]) -> Mistakes:
    """The section with its photos. urls: data URL by path; missing ones leave their frame empty. Pure."""

    def shown(photos: tuple[Photo, ...]) -> tuple[Photo, ...]:
        return tuple(_with_url(photo, urls.get(photo.path)) for photo in photos)

    return Mistakes(
        of=view.of,
        photos=view.photos,
        wrong=view.wrong,
        matrix=view.matrix,
        classes=view.classes,
        pairs=tuple(
            PairView(
                pair.true, pair.predicted, pair.count, shown(pair.wrong), shown(pair.of_true), shown(pair.of_predicted)
            )
            for pair in view.pairs
        ),
        confident=shown(view.confident),
        reliability=view.reliability,
        doubts=shown(view.doubts),
        doubt_count=view.doubt_count,
        photos_found=bool(urls) or not shown_paths(view),
    )


def _with_url(photo: Photo, url: str | None) -> Photo:
    return Photo(photo.path, photo.true, photo.predicted, photo.confidence, photo.true_probability, url)
