"""What the GPUs of running trials did in their latest epochs, for the terminal and TensorBoard. Pure."""

from collections.abc import Iterable, Sequence

from carcls.events import EpochReport
from carcls.system.nvml import GpuUse
from search.policy.records import TrialRecord, TrialState


def gpu_lines(records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """One line about the GPUs of all running trials, or none without figures.

    `GPUs in use: 2 (NVIDIA A100-SXM4-40GB), 87 % busy, 31.2 of 39.4 GiB, 251 W, 61 °C`
    """
    busy = (record for record in records if record.state is TrialState.RUNNING and record.reports)
    uses = [use for record in busy for use in record.reports[-1].gpus]
    if not uses:
        return ()
    kinds = ", ".join(dict.fromkeys(use.name for use in uses))
    return (f"GPUs in use: {len(uses)} ({kinds}), {use_text(uses)}",)


def use_text(uses: Sequence[GpuUse]) -> str:
    """What several GPUs did: the means of what they were busy and of their power, and the largest of the rest."""
    busy, power_w = _known(use.busy for use in uses), _known(use.power_w for use in uses)
    memory = [(use.memory_mib, use.memory_total_mib) for use in uses if use.memory_mib and use.memory_total_mib]
    temperature_c = _known(use.temperature_c for use in uses)
    parts = []
    if busy:
        parts.append(f"{100 * sum(busy) / len(busy):.0f} % busy")
    if memory:
        used, total = max(memory, key=lambda pair: pair[0] / pair[1])
        parts.append(f"{used / 1024:.1f} of {total / 1024:.1f} GiB")
    if power_w:
        parts.append(f"{sum(power_w) / len(power_w):.0f} W")
    if temperature_c:
        parts.append(f"{max(temperature_c):.0f} °C")
    return ", ".join(parts) or "no figures"


def gpu_scalars(report: EpochReport) -> dict[str, float]:
    """TensorBoard's scalars of one epoch by tag, over all its GPUs; empty without figures."""
    uses = report.gpus
    figures = {
        "gpu/busy": _mean(_known(use.busy for use in uses)),
        "gpu/memory_gib": _largest(mib / 1024 for mib in _known(use.memory_mib for use in uses)),
        "gpu/power_w": _mean(_known(use.power_w for use in uses)),
        "gpu/temperature_c": _largest(_known(use.temperature_c for use in uses)),
    }
    return {tag: value for tag, value in figures.items() if value is not None}


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _largest(values: Iterable[float]) -> float | None:
    return max(values, default=None)
