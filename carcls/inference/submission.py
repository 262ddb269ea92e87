"""Probabilities -> submission.csv, checked against the contest's sample before a byte is written."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.atomic import write_text
from carcls.errors import SubmissionError

MAX_SAMPLE_BYTES = 64 * 2**20
"""About three million rows; what is larger is another file."""
_SHOWN = 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a line break inside an id reads differently from program to program


@dataclass(frozen=True, slots=True)
class Sample:
    """The contest's sample submission: what a valid one looks like."""

    path: Path
    header: tuple[str, str]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    """Line in the file of each id, counted from 1."""


def write_submission(
    path: Path,
    *,
    sample: Path,
    probabilities: NDArray[np.floating],
    ids: Sequence[str],
    class_names: Sequence[str],
    fallback: str,
) -> tuple[str, ...]:
    """Write the most probable class of each of the sample's ids, in the sample's order and under its header.

    probabilities: (n, classes), of `ids` in order. fallback: the class of ids without probabilities (broken photos),
    such as the most frequent one. Returns the ids that got it, for the caller to tell. Raises SubmissionError, with
    nothing written, where sample and predictions do not fit each other.
    """
    read = read_sample(sample)
    _check_labels(read, class_names, fallback)
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
    """`write_submission` where no sample says what to answer: every id of `asked`, in order, under `Id,Category`."""
    _check_predictions(probabilities, ids, class_names)
    labels = dict(zip(ids, (class_names[best] for best in np.argmax(probabilities, axis=1)), strict=True))
    return _write(path, ("Id", "Category"), asked, labels, fallback)


def _write(
    path: Path, header: tuple[str, str], asked: Sequence[str], labels: Mapping[str, str], fallback: str
) -> tuple[str, ...]:
    """Returns the ids without a label, which get `fallback`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows((id_, labels.get(id_, fallback)) for id_ in asked)
    write_text(path, text.getvalue())
    return tuple(id_ for id_ in asked if id_ not in labels)


def read_sample(path: Path) -> Sample:
    """The sample as it stands: two columns under a header, unique ids. Raises SubmissionError with file and line."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise SubmissionError(f"{path}:{reader.line_num}: not CSV: {error}") from None
    if not rows:
        raise SubmissionError(f"{path}:1: empty; expected a header such as Id,Category and a row for each photo")
    for line, row in rows:
        if len(row) != 2:
            raise SubmissionError(f"{path}:{line}: expected 2 columns, an id and a class, found {len(row)}")
        if any(_CONTROL.search(cell) for cell in row):
            raise SubmissionError(f"{path}:{line}: control character in {row!r}; expected plain ids and classes")
    if len(rows) == 1:
        raise SubmissionError(f"{path}:{rows[0][0]}: no rows under the header {','.join(rows[0][1])}")
    (_, (id_name, label_name)), *body = rows
    lines, (ids, labels) = tuple(line for line, _ in body), zip(*(row for _, row in body), strict=True)
    sample = Sample(path, (id_name, label_name), ids, labels, lines)
    _check_unique(sample)
    return sample


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe would make us wait for ever
            raise SubmissionError(f"{path}: no such file; expected the contest's sample submission")
        with path.open("rb") as handle:
            content = handle.read(MAX_SAMPLE_BYTES + 1)
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_SAMPLE_BYTES:
        raise SubmissionError(f"{path}: over {MAX_SAMPLE_BYTES // 2**20} MiB; expected a table of ids and classes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SubmissionError(f"{path}:{line}: not UTF-8 ({error.reason}); save the sample as UTF-8") from None


def _check_unique(sample: Sample) -> None:
    first_lines: dict[str, int] = {}
    for id_, line in zip(sample.ids, sample.lines, strict=True):
        if not id_:
            raise SubmissionError(f"{sample.path}:{line}: empty id")
        if id_ in first_lines:
            raise SubmissionError(f"{sample.path}:{line}: id {id_!r} stands in line {first_lines[id_]} already")
        first_lines[id_] = line


def _check_labels(sample: Sample, class_names: Sequence[str], fallback: str) -> None:
    """Some contests leave the sample's classes blank, and some classes may be without a photo to train on."""
    known = ", ".join(class_names)
    if fallback not in class_names:
        raise SubmissionError(f"fallback: {fallback!r} is not a class; expected one of {known}")
    named = [(label, line) for label, line in zip(sample.labels, sample.lines, strict=True) if label]
    if named and not any(label in class_names for label, _ in named):
        label, line = named[0]
        raise SubmissionError(
            f"{sample.path}:{line}: class {label!r} is not in the training data, and no other of the sample's is;"
            f" expected {known} (is this the sample of another contest?)"
        )


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
