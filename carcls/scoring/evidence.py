"""The probabilities behind one epoch's scores, for paired tests, cross-fitting and ensembles."""

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
"""Largest size of one part's probabilities in one epoch. Beyond it only a fixed sample of the photos is kept."""
_SAMPLE_SEED = 20_261_128
_BYTES_EACH = 2  # float16
_MAX_UNPACKED_BYTES = 32 * MAX_BYTES
UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What zipfile, zlib and NumPy raise for invalid bytes."""

Probabilities = NDArray[np.float16]
"""(n, classes), rows in the order of the part's table or of its sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Probabilities of the photos on which one epoch was scored."""

    validation: Probabilities
    holdout: Probabilities | None = None
    averages: Mapping[str, "Evidence"] = field(default_factory=dict)
    """Probabilities of the same photos under averaged weights, by the name of the average, such as `ema-0.96`."""

    def to_text(self) -> str:
        """ASCII, compressed; `from_text` reads it back bit-equal."""
        return base64.b64encode(self._to_bytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> "Evidence":
        """Inverse of `to_text`. Raises EvidenceError."""
        try:
            return cls._from_bytes(base64.b64decode(text, validate=True))
        except (binascii.Error, *UNREADABLE) as error:
            raise EvidenceError(f"the probabilities in a message cannot be read: {error}") from error

    def write(self, path: Path) -> None:
        """Writes a .npz file atomically. Raises OSError."""
        with atomic.published(path) as draft:
            draft.write_bytes(self._to_bytes())

    @classmethod
    def read(cls, path: Path) -> "Evidence":
        """Reads what `write` wrote. Raises EvidenceError naming the file if it is missing or damaged."""
        try:
            return cls._from_bytes(path.read_bytes())
        except UNREADABLE as error:
            raise EvidenceError(
                f"{path}: cannot be read as an epoch's probabilities ({type(error).__name__}: {error})"
            ) from error

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
    """Probabilities (n, classes) of photos labelled (n,) as float16: all rows, or `sampled_rows`."""
    rows = sampled_rows(labels, probabilities.shape[1])
    return (probabilities if rows is None else probabilities[rows]).astype(np.float16)


def evidence_labels(labels: NDArray[np.int64], class_count: int) -> NDArray[np.int64]:
    """The entries of a part's labels (n,) whose photos the evidence holds, in the evidence's order."""
    rows = sampled_rows(labels, class_count)
    return labels if rows is None else labels[rows]


def sampled_rows(
    labels: NDArray[np.int64], class_count: int, *, max_bytes: int = MAX_BYTES
) -> NDArray[np.int64] | None:
    """Ascending rows of a representative sample, or None if all rows fit. Pure; equal labels give equal samples.

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
