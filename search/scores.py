"""What the final training told: its epochs, and what it scored on the validation photos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carcls.events import EpochReport
from search.efficiency import Efficiency, efficiency_lines


@dataclass(frozen=True, slots=True)
class Scores:
    """Validation scores of the final training, at the image size of its best weights."""

    best_epoch: int
    best_stage: str
    image_size: int
    validation_photos: int
    plain_accuracy: float
    plain_log_loss: float
    plain_correct: int
    tta_accuracy: float
    """Cross-fitted: each photo by views that were chosen without it."""
    tta_log_loss: float
    tta_interval: tuple[float, float]
    """Bootstrap interval of the log-loss that TTA saves per photo."""
    tta_views: tuple[str, ...]
    """Views in use; `plain` alone where TTA does not help."""
    seconds: float
    device: str
    trial: int | None
    """The trial that it repeats; None for a fixed recipe."""
    tta_note: str | None = None
    """Why no view could be chosen; None where one could."""
    efficiency: Efficiency | None = None
    """None in files written before it was measured."""


def read_scores(path: Path) -> Scores:
    """What `scores.json` holds."""
    return scores_from_json(json.loads(path.read_text(encoding="utf-8")))


def scores_from_json(values: Mapping[str, Any]) -> Scores:
    """Inverse of `dataclasses.asdict`, also after JSON. Raises TypeError and KeyError for anything else."""
    efficiency = values.get("efficiency")
    return Scores(
        **{
            **values,
            "tta_interval": tuple(values["tta_interval"]),
            "tta_views": tuple(values["tta_views"]),
            "efficiency": Efficiency.from_json(efficiency) if efficiency else None,
        }
    )


def read_reports(path: Path) -> tuple[EpochReport, ...]:
    """The epochs that `reports.jsonl` holds, none where there is no file; a line cut off in writing is left out."""
    if not path.exists():
        return ()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return tuple(EpochReport.from_json(json.loads(line)) for line in whole.splitlines())


def score_lines(scores: Scores) -> tuple[str, ...]:
    """The scores in words, then what the training took, for the terminal."""
    low, high = scores.tta_interval
    refused = scores.tta_note or "no TTA: it does not help here"
    used = ", ".join(scores.tta_views) if len(scores.tta_views) > 1 else refused
    return (
        f"best weights: epoch {scores.best_epoch}, stage {scores.best_stage}, {scores.image_size} px",
        f"validation, plain: accuracy {scores.plain_accuracy:.4f}"
        f" ({scores.plain_correct} of {scores.validation_photos}), log-loss {scores.plain_log_loss:.4f}",
        f"validation, TTA:   accuracy {scores.tta_accuracy:.4f}, log-loss {scores.tta_log_loss:.4f},"
        f" saved {low:+.4f} to {high:+.4f} per photo",
        f"views in use: {used}",
        *(efficiency_lines(scores.efficiency, len(scores.tta_views)) if scores.efficiency else ()),
    )
