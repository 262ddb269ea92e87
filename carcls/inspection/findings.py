"""Findings of a check of a data folder, as plain values and as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.dataset.table import Quarantined
from carcls.system import atomic
from carcls.system.csv_cells import readable_cell


@dataclass(frozen=True, slots=True)
class Copies:
    """Photos that are copies of each other or look alike."""

    paths: tuple[str, ...]
    """Relative to the data folder, absolute outside it; training photos first."""
    classes: tuple[str, ...]
    """Distinct classes of the training photos among them."""
    exact: bool
    """True if all have the same bytes. Otherwise some only look alike and may be different photos."""
    training: int
    test: int

    @property
    def kind(self) -> str:
        """Name of this kind of copies."""
        return "exact copies" if self.exact else "look-alikes"

    @property
    def place(self) -> str:
        """Short description of the problem."""
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
    """Number of validation photos under the suggested split."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of one measure over all photos."""

    low: float
    """Smallest."""
    median: float
    high: float
    """Largest."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of all usable photos, training and test."""

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
    """Paths of photos under 64 px on a side, or with an aspect ratio over 3."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of `examine`."""

    classes: tuple[ClassCount, ...]
    test: int
    sizes: Sizes
    quarantined: tuple[Quarantined, ...]
    copies: tuple[Copies, ...]
    """Groups with two labels first, then groups across training and test."""
    fraction: float
    """Suggested share for validation."""
    warnings: tuple[str, ...]
    trouble: str
    """Why nothing can be trained; empty if training is possible."""
    sample: str = ""
    """Name of the sample submission in use; empty if there is none."""
    sample_problem: str = ""
    """Why no submission could follow it; empty if one can."""
    validation_from: str = ""
    """Where the user's own validation photos are, such as `val`; empty if they are drawn."""
    held_out: int = 0
    """Number of photos in the user's own holdout."""
    in_no_part: int = 0
    """Number of photos that the user held out but that are in no part, as copies of others; they are quarantined."""
    own_groups: tuple[int, int] | None = None
    """Number of the user's own groups of two photos or more, and photos of the largest; None without groups."""


def write_lists(findings: Findings, folder: Path) -> None:
    """Writes classes.csv, duplicates.csv and unusable.csv, each atomically. Raises OSError."""
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
    shown = ([readable_cell(str(cell)) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows([header, *shown])
    atomic.write_text(path, text.getvalue())
