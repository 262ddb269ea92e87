"""The data of a training run: one split and the pixels of its parts at any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.table import ImageTable
from carcls.errors import DataError
from carcls.frames import Size
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.pixel_rows import PixelRows
from carcls.input.pixels import Pixels, pixels, pixels_key, try_pixels
from carcls.splits.split import Split
from carcls.store import Json, Store

Part = Literal["train", "validation", "holdout"]


class SharedRows(NamedTuple):
    """A table's photos among those of other tables."""

    tables: tuple[ImageTable, ...]
    rows: NDArray[np.int64]
    """(n,) photos, numbered through all tables."""

    @property
    def is_one_table(self) -> bool:
        """True if the photos are exactly one table, in its order."""
        return len(self.tables) == 1 and np.array_equal(self.rows, np.arange(len(self.tables[0])))


@dataclass(frozen=True)
class TrainingData:
    """One split of one study, with pixels from the node's store."""

    split: Split
    store: Store
    view_seed: int
    """The study's view seed, equal for all trials so that they can share views."""
    processes: int = 1
    """Cores of the training run: number of photos decoded, and of batches prepared, in parallel."""
    batch_server: BatchWorkerServer | None = None
    """Source of processes that prepare batches, or None to start one if needed."""
    shared: tuple[ImageTable, ...] = ()
    """Tables whose pixels and plain features are reused for a part if they contain all of its photos. With the study's
    own tables, K folds need no extra space and no decoding after a search."""

    def table(self, part: Part) -> ImageTable:
        """The photos of one part. Raises DataError for the holdout part of a split that has none."""
        table = {"train": self.split.train, "validation": self.split.validation, "holdout": self.split.holdout}[part]
        if table is None:
            raise DataError("this split has no holdout: set data.holdout.fraction in a new study")
        return table

    def pixels_key(self, part: Part, size_px: Size) -> dict[str, Json]:
        """Everything that those pixels depend on. Part of the key of every artefact derived from them."""
        return pixels_key(self.table(part), size_px)

    def pixels(self, part: Part, size_px: Size) -> Pixels:
        """uint8 (n, height, width, 3) RGB, read-only; row i is photo i of that part's table. Raises DataError."""
        return self.pixels_of(self.table(part), size_px)

    def pixels_of(self, table: ImageTable, size_px: Size) -> Pixels:
        """The same for any table. Raises DataError."""
        shared = self.shared_rows(table)
        if shared is None:
            other = self.split.validation if table is self.split.train else self.split.train
            return self._wholes((table,), size_px, meanwhile=other if len(other) else None)[0]
        wholes = self._wholes(shared.tables, size_px)
        return wholes[0] if shared.is_one_table else PixelRows(wholes, shared.rows)

    def _wholes(
        self, tables: Sequence[ImageTable], size_px: Size, *, meanwhile: ImageTable | None = None
    ) -> list[Pixels]:
        """Pixels of whole tables. While another process decodes one, this one decodes the others and `meanwhile`."""
        found = [try_pixels(table, size_px, self.store, processes=self.processes) for table in tables]
        if meanwhile is not None and any(one is None for one in found):
            try_pixels(meanwhile, size_px, self.store, processes=self.processes)
        return [
            pixels(table, size_px, self.store, processes=self.processes) if one is None else one
            for table, one in zip(tables, found, strict=True)
        ]

    def shared_rows(self, table: ImageTable) -> SharedRows | None:
        """Positions of a table's photos among the shared tables, or None if some are missing there."""
        places = [self._shared_places.get(digest) for digest in table.digests]
        if not places or None in places:
            return None
        owners, rows = np.array(places, np.int64).T
        used = np.unique(owners)
        tables = tuple(self.shared[owner] for owner in used)
        starts = np.cumsum([0, *map(len, tables)])
        return SharedRows(tables, starts[np.searchsorted(used, owners)] + rows)

    @cached_property
    def _shared_places(self) -> dict[str, tuple[int, int]]:
        """Digest -> (number of the table, row in it). Equal digests mean equal photos."""
        return {
            digest: (number, row)
            for number, table in reversed(list(enumerate(self.shared)))
            for row, digest in reversed(list(enumerate(table.digests)))
        }
