"""What every benchmark shares: medians, the machine, the table and the JSON line that it ends with."""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real photos and weights, where they lie beside the checkout."""
PHOTOS = SHARED / "data" / "cars10"
WEIGHTS = SHARED / "weights"

_PACKAGES = ("numpy", "opencv-python-headless", "albumentations", "tensorflow", "keras", "ray", "optuna")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, measured. Larger ratios are better; the claim holds from `target` on."""

    name: str
    ours: float
    peer: float
    ratio: float
    target: float
    holds: bool


def judge(name: str, *, ours: float, peer: float, target: float, smaller_is_better: bool = False) -> Verdict:
    """ours / peer against the target; peer / ours where smaller figures (seconds, bytes) are better.

    Raises ValueError for figures that are not positive: nothing was measured.
    """
    if ours <= 0 or peer <= 0:
        raise ValueError(f"{name}: measured {ours} against {peer}; expected two positive figures")
    ratio = peer / ours if smaller_is_better else ours / peer
    return Verdict(name, _rounded(ours), _rounded(peer), _rounded(ratio), target, ratio >= target)


def finish(name: str, verdicts: Sequence[Verdict], **extra: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Prints each claim, then the JSON line: the first claim's figures, and all of them under `claims`.

    The exit code stays 0 either way, so that a miss is reported and not hidden.
    """
    print()
    for verdict in verdicts:
        print(
            f"{'holds' if verdict.holds else 'MISSES'}  {verdict.name}: {verdict.ours:g} against {verdict.peer:g},"
            f" ratio {verdict.ratio:g}, target {verdict.target:g}"
        )
    first = verdicts[0]
    line = {
        "name": name,
        "ours": first.ours,
        "peer": first.peer,
        "ratio": first.ratio,
        "target": first.target,
        "holds": all(verdict.holds for verdict in verdicts),
        "claims": [asdict(verdict) for verdict in verdicts],
        "loadavg": round(os.getloadavg()[0], 1),
        **extra,
    }
    print(json.dumps(line), flush=True)


def interleaved(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Every contender once per round, in turn, so that what else the machine does hurts all alike."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
    return figures


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in figures.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under their heads; the first to the left, figures to the right."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """One line for the record: CPU, cores, memory, system."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu_model()}, {cores()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> str:
    """Python and the packages whose speed is measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {packages}"


def quiet() -> None:
    """Before the first import of TensorFlow or albumentations: no notices between the lines of a table."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.stdout.reconfigure(line_buffering=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")
