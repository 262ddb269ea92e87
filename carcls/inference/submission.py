"""Writes submission.csv from probabilities, checked against the competition's sample first."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.sample_submission import Sample, check_classes, read_sample
from carcls.errors import SubmissionError
from carcls.system.atomic import write_text

_SHOWN = 5


def write_submission(
    path: Path,
    *,
    sample: Path,
    probabilities: NDArray[np.floating],
    ids: Sequence[str],
    class_names: Sequence[str],
    fallback: str,
) -> tuple[str, ...]:
    """Writes the most probable class of each of the sample's ids, in the sample's order and under its header.

    probabilities: (n, classes), in the order of `ids`. fallback: class of ids without probabilities (broken photos),
    such as the most frequent one. Returns the ids that got it. Raises SubmissionError, without writing anything, if
    sample and predictions do not match.
    """
    read = read_sample(sample)
    check_classes(read, class_names)
    if fallback not in class_names:
        raise SubmissionError(f"fallback: {fallback!r} is not a class; expected one of {', '.join(class_names)}")
    _check_predictions(probabilities, ids, class_names)
    _check_ids(read, ids)
    if path.resolve() == sample.resolve():
        raise SubmissionError(f"{path}: is the sample itself; write the submission elsewhere")
    labels = dict(zip(ids, (class_names[best] for best in np.argmax(probabilities, axis=1)), strict=True))
    return _write(path, read.header, read.ids, labels, fallback)


def write_answers(
    path: Path,
    *,
    asked: Sequence[str],
    probabilities: NDArray[np.floating],
    ids: Sequence[str],
    class_names: Sequence[str],
    fallback: str,
) -> tuple[str, ...]:
    """`write_submission` without a sample: every id of `asked`, in order, under the header `Id,Category`."""
    _check_predictions(probabilities, ids, class_names)
    labels = dict(zip(ids, (class_names[best] for best in np.argmax(probabilities, axis=1)), strict=True))
    return _write(path, ("Id", "Category"), asked, labels, fallback)


def _write(
    path: Path, header: tuple[str, str], asked: Sequence[str], labels: Mapping[str, str], fallback: str
) -> tuple[str, ...]:
    """Writes the file and returns the ids without a label, which get `fallback`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows((id_, labels.get(id_, fallback)) for id_ in asked)
    write_text(path, text.getvalue())
    return tuple(id_ for id_ in asked if id_ not in labels)


def _check_predictions(probabilities: NDArray[np.floating], ids: Sequence[str], class_names: Sequence[str]) -> None:
    expected = (len(ids), len(class_names))
    if np.shape(probabilities) != expected:
        raise SubmissionError(f"probabilities: expected (ids, classes) = {expected}, found {np.shape(probabilities)}")
    repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
    if repeated:
        raise SubmissionError(f"predictions: {_some(repeated)} predicted more than once")
    broken = [id_ for id_, whole in zip(ids, np.isfinite(probabilities).all(axis=1), strict=True) if not whole]
    if broken:
        raise SubmissionError(f"predictions: {_some(broken)} without finite probabilities; the model has diverged")


def _check_ids(sample: Sample, ids: Iterable[str]) -> None:
    asked = set(sample.ids)
    unasked = [id_ for id_ in ids if id_ not in asked]
    if unasked:
        raise SubmissionError(
            f"{sample.path}: {_some(unasked)} predicted but not in the sample; predict the photos that it lists"
        )


def _some(ids: Sequence[str]) -> str:
    """`3 ids ('1.jpg', '2.jpg', '3.jpg')`: the count and the first few."""
    shown = ", ".join(repr(id_) for id_ in ids[:_SHOWN])
    noun = "id" if len(ids) == 1 else "ids"
    return f"{len(ids)} {noun} ({shown}{', …' if len(ids) > _SHOWN else ''})"
