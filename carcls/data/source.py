"""What a training trains on: one split, and the pixels of its two parts at any size."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from carcls.data.folds import Split
from carcls.data.pixels import pixels
from carcls.data.store import Store

Part = Literal["train", "validation"]


@dataclass(frozen=True)
class TrainingData:
    """One split of one study, seen through the node's store."""

    split: Split
    store: Store
    view_seed: int
    """The study's: equal for all trials, so that views can be shared."""
    processes: int = 1
    """How many photos are decoded at once while the store is filled."""

    def pixels(self, part: Part, size_px: int) -> NDArray[np.uint8]:
        """uint8 (n, size_px, size_px, 3) RGB, read-only; row i is photo i of that part's table. Raises DataError."""
        table = self.split.train if part == "train" else self.split.validation
        return pixels(table, size_px, self.store, processes=self.processes)
