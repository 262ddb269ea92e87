"""What a final training cost and what its model costs to use: plain figures beside the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any, Self

from carcls.events import EpochReport
from search.terminal.formatting import count_text, duration_text, one_line, size_text
from search.terminal.table import table_lines

__all__ = [
    "Efficiency",
    "StageCost",
    "efficiency_lines",
    "ms_text",
    "rate_text",
    "stage_costs",
]


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage of the final training took."""

    name: str
    image_size_px: int
    epochs: int
    trainable_parameters: int
    seconds: float
    """Wall-clock of its epochs: building and tracing the model, photos, training, validation."""
    images_per_s: float
    """Of its training steps; the median over epochs."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What the final model is and takes, on the machine that scored it."""

    parameters: int
    model_bytes: int
    """Of the exported file."""
    peak_memory_bytes: int | None
    """Most main memory that any one process of the final training held, pages of mapped photos counted, a GPU's memory
    not; after an interruption, of those that went on. None where the system does not tell."""
    batch_size: int
    """Of prediction."""
    plain_s_per_photo: float
    """Prediction of the validation photos on a model traced already; decoding counts only where the store is off."""
    views_s_per_photo: float
    """The same with all views in use, their transforms counted."""
    stages: tuple[StageCost, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON. Raises TypeError for a missing or unknown field."""
        return cls(**{**values, "stages": tuple(StageCost(**stage) for stage in values["stages"])})


def stage_costs(reports: Sequence[EpochReport]) -> tuple[StageCost, ...]:
    """One row per stage, in order, from all epochs of a training; pure."""
    stages = (list(epochs) for _, epochs in groupby(reports, key=lambda report: report.stage))
    return tuple(
        StageCost(
            name=epochs[0].stage_name,
            image_size_px=epochs[0].image_size,
            epochs=len(epochs),
            trainable_parameters=epochs[0].trainable_parameters,
            seconds=sum(report.seconds.total for report in epochs),
            images_per_s=median(report.images_per_s for report in epochs),
        )
        for epochs in stages
    )


def efficiency_lines(efficiency: Efficiency, views: int) -> tuple[str, ...]:
    """The figures for the terminal; `views` is how many are in use."""
    memory = efficiency.peak_memory_bytes
    held = "" if memory is None else f", peak main memory {size_text(memory)}"
    averaged = f", {ms_text(efficiency.views_s_per_photo)} with {count_text(views, 'view')}" if views > 1 else ""
    rows = [("stage", "px", "epochs", "trained parameters", "time", "images/s")]
    rows += [
        (
            one_line(cost.name),
            str(cost.image_size_px),
            str(cost.epochs),
            f"{cost.trainable_parameters:,}",
            duration_text(cost.seconds),
            rate_text(cost.images_per_s),
        )
        for cost in efficiency.stages
    ]
    return (
        f"model: {efficiency.parameters:,} parameters, file {size_text(efficiency.model_bytes)}{held}",
        *(f"  {line}" for line in table_lines(rows)),
        f"prediction: {ms_text(efficiency.plain_s_per_photo)} a photo plain{averaged}; decoded photos,"
        f" batches of {efficiency.batch_size}",
    )


def rate_text(per_s: float) -> str:
    """`119`, `9.4`."""
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def ms_text(seconds: float) -> str:
    """`12.3 ms`."""
    return f"{1000 * seconds:.1f} ms"
