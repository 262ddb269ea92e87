"""What the models of a final training say of photos that none of them has seen, kept for averages with others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.evidence import UNREADABLE
from carcls.system import atomic


@dataclass(frozen=True, eq=False)
class UnseenAnswers:
    """Of photos from the holdout, or of those to predict."""

    ids: tuple[str, ...]
    views: tuple[str, ...]
    """Averaged in each answer."""
    said: NDArray[np.float32]
    """(K, m, classes) probabilities of each model."""

    def write(self, path: Path) -> None:
        """Writes an .npz file atomically. Raises OSError."""
        with atomic.published(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, ids=np.array(self.ids), views=np.array(self.views), said=self.said)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What `write` wrote; None if the file is missing or damaged, for then only an expectation is not told."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                ids, views, said = (arrays[name] for name in ("ids", "views", "said"))
            if said.ndim != 3 or not len(said) or said.shape[1] != len(ids) or not np.isfinite(said).all():
                return None
        except (*UNREADABLE, TypeError):
            return None
        return cls(tuple(map(str, ids)), tuple(map(str, views)), said.astype(np.float32))
