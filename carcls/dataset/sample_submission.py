"""Finds and reads the competition's sample submission, which lists the photos to predict."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.dataset.layouts import SAMPLE_CSV, Layout, is_sample_name, resembles_sample_name
from carcls.dataset.names import first_names, is_junk, natural_key, normalized_name
from carcls.errors import SubmissionError

MAX_SAMPLE_BYTES = 64 * 2**20
"""About three million rows; a larger file is something else."""
_SHOWN_CLASSES = 10
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # programs disagree about line breaks inside an id


@dataclass(frozen=True, slots=True)
class Sample:
    """What a valid submission looks like. Cells keep surrounding spaces, since a submission must repeat them."""

    path: Path
    header: tuple[str, str]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    """Line of each id in the file, counted from 1."""


def find_sample(root: Path, layout: Layout) -> Path | None:
    """The file that lists the photos to predict, or None.

    It is set by `data.sample`, or else it is `sample-submission.csv` in any spelling in the data folder, unless
    `data.test` is set. Raises SubmissionError if two files match.
    """
    if layout.sample is not None:
        return layout.sample
    if layout.test is not None:
        return None
    found = [name for name in _files(root) if is_sample_name(name)]
    if len(found) > 1:
        raise SubmissionError(
            f"{root}: which sample submission is right, {' or '.join(found)}? Set data.sample, or keep one"
        )
    return root / found[0] if found else None


def ignored_samples(root: Path, layout: Layout) -> Iterator[tuple[str, str]]:
    """Files in the data folder whose names resemble a sample submission but that are not used, with a reason."""
    for name in _files(root):
        if layout.sample == root / name:
            continue
        if is_sample_name(name) and layout.sample is not None:
            yield name, f"not used: data.sample is {layout.sample.name}"
        elif is_sample_name(name) and layout.test is not None:
            yield name, "not used: data.test sets the photos to predict; set data.sample to this file as well"
        elif not is_sample_name(name) and resembles_sample_name(name):
            yield (
                name,
                f"not used: a sample submission is called {SAMPLE_CSV}; rename it, or set data.sample",
            )


def read_sample(path: Path) -> Sample:
    """Reads the sample: a header, two columns, unique ids. Raises SubmissionError with file and line."""
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
            raise SubmissionError(_not_two_columns(path, line, row))
        if any(_CONTROL.search(cell) for cell in row):
            raise SubmissionError(f"{path}:{line}: control character in {row!r}; expected plain ids and classes")
    if len(rows) == 1:
        raise SubmissionError(f"{path}:{rows[0][0]}: no rows under the header {','.join(rows[0][1])}")
    (_, (id_name, label_name)), *body = rows
    lines, (ids, labels) = tuple(line for line, _ in body), zip(*(row for _, row in body), strict=True)
    sample = Sample(path, (id_name, label_name), ids, labels, lines)
    _check_unique(sample)
    return sample


def check_classes(sample: Sample, class_names: Sequence[str]) -> None:
    """Raises SubmissionError if the sample names classes but none of them is in the training data.

    Some competitions leave the sample's classes blank, and some classes may have no training photo.
    """
    named = [(label, line) for label, line in zip(sample.labels, sample.lines, strict=True) if label.strip()]
    if named and not any(normalized_name(label) in class_names for label, _ in named):
        label, line = named[0]
        raise SubmissionError(
            f"{sample.path}:{line}: class {label!r} is not in the training data, nor is any other class of the sample;"
            f" expected {first_names(class_names, _SHOWN_CLASSES)} (is this the sample of another competition? If its"
            " classes are only placeholders, leave that column empty)"
        )


def load_sample(root: Path, layout: Layout) -> Sample | None:
    """The data folder's sample, or None. Raises SubmissionError."""
    path = find_sample(root, layout)
    return None if path is None else read_sample(path)


def try_load_sample(root: Path, layout: Layout) -> tuple[Sample | None, str]:
    """The same, or None and the reason why it cannot be read."""
    try:
        return load_sample(root, layout), ""
    except SubmissionError as error:
        return None, str(error)


def class_mismatch(sample: Sample | None, class_names: Sequence[str]) -> str:
    """Message if the sample's classes are not those to train on, else empty."""
    try:
        if sample is not None:
            check_classes(sample, class_names)
    except SubmissionError as error:
        return str(error)
    return ""


def _not_two_columns(path: Path, line: int, row: list[str]) -> str:
    hint = ""
    if len(row) > 2:
        hint = "; submissions with one probability per class are not supported, only one class per row"
    elif any(sign in row[0] for sign in ";\t"):
        hint = "; its cells must be separated by commas"
    return f"{path}:{line}: expected 2 columns, an id and a class, found {len(row)}{hint}"


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():  # reading a pipe might block forever
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
    """Raises SubmissionError for empty and duplicate ids. Ids that differ only in surrounding spaces are duplicates."""
    first_lines: dict[str, int] = {}
    for written, line in zip(sample.ids, sample.lines, strict=True):
        id_ = written.strip()
        if not id_:
            raise SubmissionError(f"{sample.path}:{line}: empty id")
        if id_ in first_lines:
            raise SubmissionError(f"{sample.path}:{line}: id {id_!r} already occurs in line {first_lines[id_]}")
        first_lines[id_] = line


def _files(root: Path) -> list[str]:
    try:
        return sorted(
            (entry.name for entry in root.iterdir() if entry.is_file() and not is_junk(entry.name)), key=natural_key
        )
    except OSError:  # reported when the layout is read
        return []
