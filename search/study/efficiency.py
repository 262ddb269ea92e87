"""The cost of a final training and of using its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any, Self

from carcls.events import EpochReport
from search.terminal.formatting import count_text, duration_text, one_line, size_text
from search.terminal.text_table import table_lines

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
    """The cost of one stage of the final training."""

    name: str
    image_size_px: int | str
    epochs: int
    trainable_parameters: int
    seconds: float
    """Wall-clock seconds of its epochs: building and tracing the model, photos, training, validation."""
    images_per_s: float
    """Speed of its training steps; the median over epochs."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Size and speed of the final model, on the machine that scored it."""

    parameters: int
    model_bytes: int
    """Size of the exported file."""
    peak_memory_bytes: int | None
    """Peak main memory of any single process of the final training, including mapped photos but not GPU memory. After
    an interruption it covers only the later processes. None if the system does not tell."""
    batch_size: int
    """Batch size of prediction."""
    plain_s_per_photo: float
    """Seconds per validation photo with a model that is already traced. Decoding counts only if the store is off."""
    views_s_per_photo: float
    """The same with all views in use, including their transforms."""
    stages: tuple[StageCost, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON. Raises TypeError for a missing or unknown field."""
        return cls(**{**values, "stages": tuple(StageCost(**stage) for stage in values["stages"])})


def stage_costs(reports: Sequence[EpochReport]) -> tuple[StageCost, ...]:
    """One row per stage, in order, from all epochs of a training run; pure."""
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
    """The figures as lines for the terminal. views: number of views in use."""
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
