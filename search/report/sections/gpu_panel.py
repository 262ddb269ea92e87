"""The page's section about GPUs: what they did in each stage, and which of them failed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from carcls.events import EpochReport
from search.policy.node_health import NodeHealth
from search.policy.records import TrialRecord
from search.progress.gpu_lines import use_text
from search.study.gpu_notes import failing_gpu_lines


@dataclass(frozen=True, slots=True)
class GpuRow:
    """The GPUs of one stage, over all epochs with figures."""

    stage: str
    kinds: str
    epochs: int
    use: str
    """Busy, memory, power and temperature, as one text."""


@dataclass(frozen=True, slots=True)
class GpuPanel:
    """Both parts; at least one is not empty."""

    rows: tuple[GpuRow, ...]
    failing: tuple[str, ...]
    """One line for each GPU with faults."""


def gpu_panel(
    records: Sequence[TrialRecord], final: Sequence[EpochReport], failing: Sequence[NodeHealth]
) -> GpuPanel | None:
    """The section, or None without figures and faults. final: the epochs of the final training."""
    reports = [report for record in records for report in record.reports]
    rows = [*_rows(reports, "{}"), *_rows(final, "{}, final training")]
    lines = failing_gpu_lines(failing)
    return GpuPanel(tuple(rows), lines) if rows or lines else None


def _rows(reports: Sequence[EpochReport], title: str) -> list[GpuRow]:
    stages = sorted({report.stage for report in reports if report.gpus})
    return [_row([one for one in reports if one.stage == stage and one.gpus], title) for stage in stages]


def _row(reports: Sequence[EpochReport], title: str) -> GpuRow:
    uses = [use for report in reports for use in report.gpus]
    return GpuRow(
        stage=title.format(", ".join(dict.fromkeys(report.stage_name for report in reports))),
        kinds=", ".join(sorted({use.name for use in uses})),
        epochs=len(reports),
        use=use_text(uses),
    )
