"""Recorded curves: the scores of whole trainings, epoch by epoch, in one small file.

The file is gzipped JSON lines: a header, then one training run per line. It contains no paths, machine names or times.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from carcls.config import RankBy
from carcls.events import EpochReport
from carcls.system import atomic
from carcls.system.zip_files import regular_size
from search.errors import CurvesError
from search.experiment.domains import Value

_FORMAT = "carsearch curves 1"
_MAX_BYTES = 256 * 2**20
"""Limit for the unpacked file. The largest recorded table, with 120 trainings, takes 0.3 MB."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epoch. Policies see the validation scores; the holdout scores serve to compare policies."""

    stage: int
    """Counted from 0."""
    stage_ended: bool
    val_accuracy: float
    val_log_loss: float
    holdout_accuracy: float
    holdout_log_loss: float
    seconds: float
    """Seconds of training, validation, building and tracing, without the holdout and without what the store spends once
    for all trials."""
    val_scaled_log_loss: float | None = None
    """As in `EpochReport`; None in tables of recordings ranked by accuracy."""
    kept_epoch: int | None = None
    """As in `EpochReport`."""

    @classmethod
    def of(cls, report: EpochReport) -> "CurvePoint":
        """Convert a reported epoch. Raises CurvesError if it has no holdout scores."""
        if report.holdout_accuracy is None or report.holdout_log_loss is None:
            raise CurvesError(
                f"epoch {report.epoch} has no holdout score: set data.holdout in the experiment and record it again"
            )
        spent = report.seconds
        return cls(
            stage=report.stage,
            stage_ended=report.stage_ended,
            val_accuracy=report.val_accuracy,
            val_log_loss=report.val_log_loss,
            holdout_accuracy=report.holdout_accuracy,
            holdout_log_loss=report.holdout_log_loss,
            val_scaled_log_loss=report.val_scaled_log_loss,
            kept_epoch=report.kept_epoch,
            seconds=spent.train + spent.data_wait + spent.validate + spent.build + spent.trace,
        )

    @property
    def rank(self) -> tuple[float, float]:
        """As `EpochReport.rank` when ranked by accuracy."""
        return (self.val_accuracy, -self.val_log_loss)


_COLUMNS = tuple(field.name for field in fields(CurvePoint))
_OPTIONAL = ("val_scaled_log_loss", "kept_epoch")
"""Columns that are missing in tables ranked by accuracy."""
_OLD_NAMES = {"judge_accuracy": "holdout_accuracy", "judge_log_loss": "holdout_log_loss"}
"""Former names of columns, in older tables."""


@dataclass(frozen=True)
class Curve:
    """One whole training."""

    params: Mapping[str, Value]
    """Values by dotted path; only the parameters that are active in this configuration."""
    seed: int
    """Seed of the training: initialisation, order of photos, dropout."""
    stage_count: int
    points: tuple[CurvePoint, ...]
    """All epochs, or those before it became infeasible."""
    infeasible: bool = False
    is_baseline: bool = False

    @property
    def seconds(self) -> float:
        """Total seconds of all epochs."""
        return sum(point.seconds for point in self.points)

    def ranked_by(self, rank_by: RankBy) -> "Curve":
        """The same training in a study with this ranking. Pure.

        A table recorded by accuracy has no scaled log-loss, so the plain log-loss replaces it. The end of a stage is
        then kept if it is no worse than the one kept before, since the noise cannot be estimated without the photos.
        """
        if rank_by == "accuracy":
            points = [replace(point, val_scaled_log_loss=None, kept_epoch=None) for point in self.points]
        elif all(point.val_scaled_log_loss is not None for point in self.points):
            return self
        else:
            kept = accumulate(range(len(self.points)), self._later_kept)
            points = [
                replace(point, val_scaled_log_loss=point.val_log_loss, kept_epoch=place + 1)
                for point, place in zip(self.points, kept, strict=True)
            ]
        return replace(self, points=tuple(points))

    def _later_kept(self, kept: int, place: int) -> int:
        earlier, later = self.points[kept], self.points[place]
        if not later.stage_ended:
            return kept if earlier.stage_ended else place
        return place if not earlier.stage_ended or later.val_log_loss <= earlier.val_log_loss else kept

    @property
    def best(self) -> CurvePoint | None:
        """The best epoch by validation, the earlier one on ties; None without epochs."""
        return max(self.points, key=lambda point: point.rank, default=None)


def write_curves(path: Path, curves: Sequence[Curve], *, name: str) -> None:
    """Write curves atomically. Equal curves give equal bytes. name: the experiment's name."""
    lines = [json.dumps({"format": _FORMAT, "name": name}), *(_line(curve) for curve in curves)]
    with atomic.published(path) as draft:
        draft.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def read_curves(path: Path) -> tuple[Curve, ...]:
    """Read a file of `write_curves`, in its order. Raises CurvesError naming file and line."""
    try:
        header, *lines = _unpacked(path).decode().splitlines()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CurvesError(f"{path}: cannot be read: {error}; expected a file of `carsearch record`") from error
    if _format(header) != _FORMAT:
        raise CurvesError(f"{path}: expected the format {_FORMAT!r}, found {header[:80]!r}; record the curves again")
    return tuple(_curve(path, number, line) for number, line in enumerate(lines, start=2))


def _unpacked(path: Path) -> bytes:
    regular_size(path)
    with gzip.open(path) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"unpacks to more than {_MAX_BYTES:,} bytes")
    return content


def _format(header: str) -> object:
    try:
        return dict(json.loads(header)).get("format")
    except (ValueError, TypeError, RecursionError):
        return None


def _line(curve: Curve) -> str:
    epochs = {name: [_short(getattr(point, name)) for point in curve.points] for name in _COLUMNS}
    epochs = {name: column for name, column in epochs.items() if name not in _OPTIONAL or None not in column}
    rest = {key: value for key, value in asdict(curve).items() if key != "points"}
    return json.dumps({**rest, "epochs": epochs})


def _short(value: Any) -> Any:  # noqa: ANN401 - numbers and booleans of a point
    return round(value, 6) if isinstance(value, float) else value


def _curve(path: Path, number: int, line: str) -> Curve:
    try:
        values = json.loads(line)
        columns = values.pop("epochs")
        columns |= {new: columns[old] for old, new in _OLD_NAMES.items() if old in columns}
        columns |= {name: [None] * len(columns["stage"]) for name in _OPTIONAL if name not in columns}
        rows = zip(*(columns[name] for name in _COLUMNS), strict=True)
        return Curve(**values, points=tuple(CurvePoint(*row) for row in rows))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CurvesError(f"{path}:{number}: not a curve ({error!r}); record the curves again") from error
