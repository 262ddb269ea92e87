"""The probabilities behind one epoch's scores: what paired tests, cross-fitted choices and ensembles read."""

import base64
import binascii
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcls.errors import EvidenceError
from carcls.system import atomic
from carcls.system.zip_files import check_no_comments

MAX_BYTES = 4 * 2**20
"""Of one part's probabilities in one epoch; beyond it a fixed sample of the photos stands for all."""
_SAMPLE_SEED = 20_261_128
_BYTES_EACH = 2  # float16
_MAX_UNPACKED_BYTES = 32 * MAX_BYTES
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What zipfile, zlib and numpy raise over bytes that they cannot make sense of."""

Probabilities = NDArray[np.float16]
"""(n, classes), rows in the order of the part's table, or of its sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Probabilities of the photos that scored one epoch."""

    validation: Probabilities
    holdout: Probabilities | None = None
    averages: Mapping[str, "Evidence"] = field(default_factory=dict)
    """By the name of an average of weights, such as `ema-0.96`: the same photos, seen by that average."""

    def to_text(self) -> str:
        """ASCII, compressed; `from_text` reads it back bit-equal."""
        return base64.b64encode(self._to_bytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> "Evidence":
        """Inverse of `to_text`. Raises EvidenceError."""
        try:
            return cls._from_bytes(base64.b64decode(text, validate=True))
        except (binascii.Error, *_UNREADABLE) as error:
            raise EvidenceError(f"a message's probabilities cannot be read: {error}") from error

    def write(self, path: Path) -> None:
        """To a .npz file, whole or not at all. Raises OSError."""
        with atomic.published(path) as draft:
            draft.write_bytes(self._to_bytes())

    @classmethod
    def read(cls, path: Path) -> "Evidence":
        """What `write` wrote. Raises EvidenceError naming the file where it is missing or damaged."""
        try:
            return cls._from_bytes(path.read_bytes())
        except _UNREADABLE as error:
            raise EvidenceError(f"{path}: no probabilities of an epoch ({type(error).__name__}: {error})") from error

    def _to_bytes(self) -> bytes:
        arrays = self._arrays("")
        for name, average in self.averages.items():
            arrays |= average._arrays(f"{name}/")
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        return content.getvalue()

    def _arrays(self, prefix: str) -> dict[str, Any]:
        held_out = {} if self.holdout is None else {f"{prefix}holdout": self.holdout}
        return {f"{prefix}validation": self.validation, **held_out}

    @classmethod
    def _from_bytes(cls, content: bytes) -> "Evidence":
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            check_no_comments(archive.zip)
            if sum(entry.file_size for entry in archive.zip.infolist()) > _MAX_UNPACKED_BYTES:
                raise ValueError(f"unpacks to more than {_MAX_UNPACKED_BYTES} bytes")
            arrays = {name: archive[name] for name in archive.files}
        names = sorted({name.rpartition("/")[0] for name in arrays} - {""})
        parts = {name: cls(arrays[f"{name}/validation"], arrays.get(f"{name}/holdout")) for name in names}
        return cls(arrays["validation"], arrays.get("holdout"), parts)


def as_evidence(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Probabilities:
    """(n, classes) for photos labelled (n,) -> float16, of all photos or of `sampled_rows`."""
    rows = sampled_rows(labels, probabilities.shape[1])
    return (probabilities if rows is None else probabilities[rows]).astype(np.float16)


def evidence_labels(labels: NDArray[np.int64], class_count: int) -> NDArray[np.int64]:
    """Of a part's labels (n,), those of the photos that its evidence holds, in the evidence's order."""
    rows = sampled_rows(labels, class_count)
    return labels if rows is None else labels[rows]


def sampled_rows(
    labels: NDArray[np.int64], class_count: int, *, max_bytes: int = MAX_BYTES
) -> NDArray[np.int64] | None:
    """Ascending rows of the photos that stand for all, or None where all fit. Pure; the same for equal labels.

    Stratified: each class keeps its share of the sample, rounded down, and at least one photo.
    """
    limit = max(class_count, max_bytes // (class_count * _BYTES_EACH))
    if len(labels) <= limit:
        return None
    rng = np.random.default_rng(_SAMPLE_SEED)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rng.permutation(rows)[: max(1, len(rows) * limit // len(labels))])
    return np.sort(np.concatenate(chosen))
