"""The probabilities of a recording in one small file beside its curves, for replaying rules that select weights.

A .npz file with LZMA compression. For each training, in the order of the curves, it holds the probabilities after each
epoch and those of averages of its weights. They are stored as square roots in 64 steps: a probability near 1 is off by
at most 0.016, one near 0.001 by 0.0005. Exact scores are in the curves. Holdout probabilities are stored only for
epochs whose weights some rule may select. The file contains no paths, machine names or times.
"""

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import scaled
from carcls.scoring.evidence import Evidence
from carcls.scoring.metrics import accuracy, log_loss
from carcls.system import atomic
from search.errors import CurvesError

_STEPS = 63
"""The largest stored value; 0 is the smallest."""
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RecordedEvidence:
    """One training's probabilities, each row summing to 1 up to rounding."""

    fold: int
    """Number of the fold that validated."""
    validation: Floats
    """(epochs, photos of the fold, classes)"""
    holdout: Mapping[int, Floats]
    """(holdout photos, classes) by epoch, counted from 1: ends of stages, and the best epoch by each score."""
    averages: Mapping[str, tuple[Floats, Floats]]
    """By name, validation and holdout (photos, classes), after the last epoch."""


@dataclass(frozen=True)
class EvidenceTable:
    """The evidence of a recording, and the true classes."""

    validation_labels: tuple[NDArray[np.int64], ...]
    """(photos,) for each fold."""
    holdout_labels: NDArray[np.int64]
    trainings: tuple[RecordedEvidence, ...]


def recorded(
    fold: int, epochs: Sequence[Evidence], labels: NDArray[np.int64], stage_ends: Collection[int]
) -> RecordedEvidence:
    """The evidence of one training.

    epochs: the evidence of each epoch, in order. labels: (photos,) true classes of the validation photos. stage_ends:
    epochs, counted from 1. Raises CurvesError if a selected epoch has no holdout probabilities.
    """
    # Rounded as in the file, so that a reader selects the same best epochs.
    parts = [_fine(_coarse(epoch.validation.astype(np.float32))) for epoch in epochs]
    accuracies, log_losses = ([score(part, labels) for part in parts] for score in (accuracy, log_loss))
    ranks = list(zip(accuracies, [-one for one in log_losses], strict=True))
    scaled_log_losses = [scaled(part, labels).log_loss for part in parts]
    best = {ranks.index(max(ranks)), int(np.argmin(log_losses)), int(np.argmin(scaled_log_losses))}
    kept = {*stage_ends, *(place + 1 for place in best)}
    held_out = {}
    for number in sorted(kept):
        probabilities = epochs[number - 1].holdout
        if probabilities is None:
            raise CurvesError("epochs without holdout probabilities: record again with data.holdout")
        held_out[number] = probabilities.astype(np.float32)
    averages = {
        name: (average.validation.astype(np.float32), average.holdout.astype(np.float32))
        for name, average in epochs[-1].averages.items()
        if average.holdout is not None
    }
    validation = np.stack([epoch.validation for epoch in epochs]).astype(np.float32)
    return RecordedEvidence(fold, validation, held_out, averages)


def write_evidence(path: Path, table: EvidenceTable) -> None:
    """Write a table atomically. Equal tables give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {"holdout_labels": table.holdout_labels.astype(np.uint16)}
    arrays |= {f"labels/{fold}": labels.astype(np.uint16) for fold, labels in enumerate(table.validation_labels)}
    arrays["folds"] = np.array([training.fold for training in table.trainings], np.int32)
    for number, training in enumerate(table.trainings):
        arrays[f"{number}/validation"] = _coarse(training.validation)
        arrays[f"{number}/epochs"] = np.array(list(training.holdout), np.int32)
        arrays[f"{number}/holdout"] = _coarse(np.stack(list(training.holdout.values())))
        for name, (validation, holdout) in training.averages.items():
            arrays[f"{number}/{name}/validation"] = _coarse(validation)
            arrays[f"{number}/{name}/holdout"] = _coarse(holdout)
    with atomic.published(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def read_evidence_table(path: Path) -> EvidenceTable:
    """Read a file of `write_evidence`. Raises CurvesError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        folds = arrays["folds"].tolist()
        labels = tuple(arrays[f"labels/{fold}"].astype(np.int64) for fold in range(max(folds) + 1))
        trainings = tuple(_training(arrays, number, fold) for number, fold in enumerate(folds))
        return EvidenceTable(labels, arrays["holdout_labels"].astype(np.int64), trainings)
    except _UNREADABLE as error:
        raise CurvesError(f"{path}: no evidence of a recording ({error!r}); record it again") from error


def _training(arrays: Mapping[str, NDArray[Any]], number: int, fold: int) -> RecordedEvidence:
    prefix = f"{number}/"
    names = sorted({name.split("/")[1] for name in arrays if name.startswith(prefix) and name.count("/") == 2})
    averages = {
        name: (_fine(arrays[f"{prefix}{name}/validation"]), _fine(arrays[f"{prefix}{name}/holdout"])) for name in names
    }
    held_out = zip(arrays[f"{prefix}epochs"].tolist(), _fine(arrays[f"{prefix}holdout"]), strict=True)
    return RecordedEvidence(fold, _fine(arrays[f"{prefix}validation"]), dict(held_out), averages)


def _coarse(probabilities: Floats) -> NDArray[np.uint8]:
    """Quantize (..., photos, classes) to (..., classes, photos). Photos are last, which compresses better."""
    return np.ascontiguousarray(np.rint(_STEPS * np.sqrt(probabilities)).astype(np.uint8).swapaxes(-1, -2))


def _fine(coarse: NDArray[np.uint8]) -> Floats:
    squared = (coarse.swapaxes(-1, -2).astype(np.float32) / _STEPS) ** 2
    return squared / squared.sum(axis=-1, keepdims=True)
