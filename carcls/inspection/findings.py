"""What a check of a data folder found: plain values, and the lists that are written of them."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.dataset.table import Quarantined
from carcls.system import atomic
from carcls.system.csv_cells import harmless


@dataclass(frozen=True, slots=True)
class Copies:
    """Photos that are copies of each other, or look alike."""

    paths: tuple[str, ...]
    """Relative to the data folder, absolute outside it; training photos first."""
    classes: tuple[str, ...]
    """Of the training photos among them, each once."""
    exact: bool
    """All of them are the same bytes; else some only look alike, and may be different photos after all."""
    training: int
    test: int

    @property
    def kind(self) -> str:
        """What they are called."""
        return "exact copies" if self.exact else "look-alikes"

    @property
    def place(self) -> str:
        """What is wrong with them, in a few words."""
        if len(self.classes) > 1:
            return f"two labels: {', '.join(self.classes)}"
        if self.training and self.test:
            return "across training and test"
        return "within training" if self.training else "within test"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class."""

    name: str
    photos: int
    validation: int
    """Of them, under the suggested split."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of one figure over all photos."""

    low: float
    """Smallest."""
    median: float
    high: float
    """Largest."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of all usable photos, training and test."""

    width_px: Quantiles
    height_px: Quantiles
    aspect: Quantiles
    """Width / height."""
    landscape: int
    portrait: int
    square: int
    common: tuple[tuple[int, int, int], ...]
    """(width, height, photos) of the most frequent sizes."""
    byte_count: int
    odd: tuple[str, ...]
    """Paths of photos under 64 px on a side, or over three times as long as wide or high."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What `examine` found."""

    classes: tuple[ClassCount, ...]
    test: int
    sizes: Sizes
    quarantined: tuple[Quarantined, ...]
    copies: tuple[Copies, ...]
    """Those with two labels first, then those across training and test."""
    fraction: float
    """Suggested share for validation."""
    warnings: tuple[str, ...]
    trouble: str
    """Why nothing can be trained; empty where something can."""
    sample: str = ""
    """Name of the sample submission that is followed; empty where there is none."""
    sample_problem: str = ""
    """Why no submission could follow it; empty where one can."""
    validation_folder: str = ""
    """The folder whose photos are validated on; empty where a share is drawn."""


def write_lists(findings: Findings, folder: Path) -> None:
    """classes.csv, duplicates.csv and unusable.csv, whole. Raises OSError where the disk refuses."""
    _write(
        folder / "classes.csv",
        ("class", "photos", "validation"),
        [(one.name, one.photos, one.validation) for one in findings.classes],
    )
    _write(
        folder / "duplicates.csv",
        ("group", "kind", "place", "path"),
        [
            (number, group.kind, group.place, path)
            for number, group in enumerate(findings.copies)
            for path in group.paths
        ],
    )
    _write(
        folder / "unusable.csv",
        ("Id", "path", "reason"),
        [(entry.id, entry.path, entry.reason) for entry in findings.quarantined],
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    shown = ([harmless(str(cell)) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows([header, *shown])
    atomic.write_text(path, text.getvalue())
