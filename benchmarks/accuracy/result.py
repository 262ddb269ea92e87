"""What one arm of one seed said of the photos that judge it, as a small JSON file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import scaled
from carcls.system.atomic import write_text

_SMALLEST = 1e-7
"""Probability below which a log-loss does not grow."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Some photos, each with whether its class was found and with its log-loss."""

    ids: tuple[str, ...]
    units: tuple[str, ...]
    """Photos that look alike share one; statistics count them as one."""
    hits: tuple[int, ...]
    losses: tuple[float, ...]
    """-log p of the true class, as the model says it."""
    scaled_losses: tuple[float, ...]
    """The same with one temperature fitted to these photos, so that an arm's confidence does not decide."""

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.hits))

    @property
    def log_loss(self) -> float:
        return float(np.mean(self.losses))

    @property
    def scaled_log_loss(self) -> float:
        return float(np.mean(self.scaled_losses))


@dataclass(frozen=True, slots=True)
class Result:
    """One arm of one seed."""

    photos: str
    """Name of the data set."""
    seed: int
    """Of the split."""
    arm: str
    held_out: Judged | None
    """The holdout, by the exported model; None without a holdout."""
    out_of_fold: Judged | None
    """Each photo of the folds by the models that did not train on it, without views; None for arms without folds."""
    trained_s: float
    """Seconds of all trainings of the arm, the search and trainings of other arms that it needs left out."""
    ms_per_photo: float | None
    """By the exported model with its views, on this machine."""
    note: str = ""
    """What else a reader should know, such as that the ensemble was refused."""

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(result_path(folder, self.photos, self.seed, self.arm), json.dumps(asdict(self)))


def result_path(folder: Path, photos: str, seed: int, arm: str) -> Path:
    return folder / "results" / f"{photos}_seed{seed}_{arm}.json"


def read_results(folder: Path) -> list[Result]:
    """All that there are, in the order of their names."""
    return [read_result(path) for path in sorted((folder / "results").glob("*.json"))]


def read_result(path: Path) -> Result:
    """Inverse of `Result.write`."""
    values = json.loads(path.read_text(encoding="utf-8"))
    judged = {name: _judged(values[name]) for name in ("held_out", "out_of_fold")}
    return Result(**{**values, **judged})


def _judged(values: dict[str, list] | None) -> Judged | None:
    return None if values is None else Judged(**{name: tuple(value) for name, value in values.items()})


def judged(
    ids: Sequence[str], units: Sequence[str], probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> Judged:
    """Scores probabilities (n, classes) for labels (n,). Raises ValueError if one is not finite."""
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities that are not finite: the model has diverged")
    told = np.asarray(probabilities, np.float64)
    rows = np.arange(len(labels))
    losses = -np.log(np.clip(told[rows, labels], _SMALLEST, 1.0))
    logits = scaled(told, labels).factor * np.log(np.clip(told, _SMALLEST, 1.0))
    highest = logits.max(axis=1)
    at_scale = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - logits[rows, labels]
    return Judged(
        tuple(ids),
        tuple(units),
        tuple(int(hit) for hit in told.argmax(axis=1) == labels),
        tuple(round(float(one), 5) for one in losses),
        tuple(round(float(one), 5) for one in at_scale),
    )
