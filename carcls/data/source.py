"""What a training trains on: one split, and the pixels of its parts at any size."""

from dataclasses import dataclass
from typing import Literal

from carcls.data.folds import Split
from carcls.data.nursery import Nursery
from carcls.data.pixels import Pixels, pixels, pixels_key, try_pixels
from carcls.data.store import Json, Store
from carcls.data.table import ImageTable
from carcls.errors import DataError

Part = Literal["train", "validation", "holdout"]


@dataclass(frozen=True)
class TrainingData:
    """One split of one study, seen through the node's store."""

    split: Split
    store: Store
    view_seed: int
    """The study's: equal for all trials, so that views can be shared."""
    processes: int = 1
    """Cores of the training: how many photos are decoded at once, and how many batches are prepared at once."""
    nursery: Nursery | None = None
    """Where processes that prepare batches come from; None: a training that needs some starts a nursery of its own."""

    def table(self, part: Part) -> ImageTable:
        """The photos of one part. Raises DataError for the holdout part of a split that has none."""
        table = {"train": self.split.train, "validation": self.split.validation, "holdout": self.split.holdout}[part]
        if table is None:
            raise DataError("this split has no holdout: set data.holdout.fraction in a new study")
        return table

    def pixels_key(self, part: Part, size_px: int) -> dict[str, Json]:
        """Everything that those pixels depend on: a part of the key of whatever is made of them."""
        return pixels_key(self.table(part), size_px)

    def pixels(self, part: Part, size_px: int) -> Pixels:
        """uint8 (n, size_px, size_px, 3) RGB, read-only; row i is photo i of that part's table. Raises DataError."""
        found = try_pixels(self.table(part), size_px, self.store, processes=self.processes)
        if found is not None:
            return found
        # Another process decodes this part: this one decodes another, which is wanted soon, and then waits.
        other: Part = "validation" if part == "train" else "train"
        try_pixels(self.table(other), size_px, self.store, processes=self.processes)
        return pixels(self.table(part), size_px, self.store, processes=self.processes)
