"""Arms against the first one on the same photos: differences with paired errors, over seeds and data sets. Pure.

A difference is a mean over photos. Its error counts photos that look alike, and the same photo with several seeds of
the split, as one: their differences are summed first (a cluster-robust error, Liang & Zeger 1986). It says how sure the
difference is for other photos of this kind, not for other data sets; those weigh alike in the last rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.accuracy.result import Judged, Result

Part = Literal["held_out", "out_of_fold"]
BASE = "folds"
"""The arm that the others are compared with."""
_SURE = 2.0
"""Standard errors beyond which a difference is called one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An arm's mean minus the base's."""

    mean: float
    error: float
    """Standard error; NaN with a single photo."""

    @property
    def is_sure(self) -> bool:
        return abs(self.mean) > _SURE * self.error


def of_data_set(pairs: Sequence[tuple[Judged, Judged]], field: str) -> Difference:
    """pairs: (arm, base) of each seed. Each seed weighs by its photos. field: of `Judged`.

    Raises ValueError if a pair was judged by different photos.
    """
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for arm, base in pairs:
        if arm.ids != base.ids:
            raise ValueError("arms judged by different photos cannot be compared: were the folders' settings changed?")
        for unit, ours, theirs in zip(arm.units, getattr(arm, field), getattr(base, field), strict=True):
            sums[unit] += ours - theirs
            counts[unit] += 1
    photos, units = sum(counts.values()), len(counts)
    mean = sum(sums.values()) / photos
    residuals = np.array([sums[unit] - mean * counts[unit] for unit in counts])
    error = float(np.sqrt((residuals**2).sum() * units / max(1, units - 1))) / photos if units > 1 else float("nan")
    return Difference(mean, error)


def over_data_sets(found: Sequence[Difference]) -> Difference:
    """Data sets weigh alike, and their photos are different ones."""
    error = float(np.sqrt(sum(one.error**2 for one in found))) / len(found)
    return Difference(float(np.mean([one.mean for one in found])), error)


def rows(results: Sequence[Result], part: Part) -> Iterable[tuple[object, ...]]:
    """A row for each arm of each data set, then one for each arm over the data sets; see `HEADER`.

    Only seeds with both the arm and the base count.
    """
    by_arm: dict[str, list[dict[str, Difference]]] = defaultdict(list)
    for photos in dict.fromkeys(one.photos for one in results):
        base = {one.seed: one for one in results if (one.photos, one.arm) == (photos, BASE)}
        for arm in dict.fromkeys(one.arm for one in results if one.photos == photos):
            ours = [
                one
                for one in results
                if (one.photos, one.arm) == (photos, arm) and one.seed in base and getattr(one, part) is not None
            ]
            pairs = [(getattr(one, part), getattr(base[one.seed], part)) for one in ours]
            pairs = [(arm_one, base_one) for arm_one, base_one in pairs if base_one is not None]
            if not pairs:
                continue
            found = {field: of_data_set(pairs, field) for field in FIELDS}
            if arm != BASE:
                by_arm[arm].append(found)
            seeds = " ".join(f"{one.accuracy:.3f}" for one, _ in pairs)
            yield (f"{photos}, {arm}", len(pairs), seeds, *_cells(arm, [one for one, _ in pairs], found))
    for arm, several in by_arm.items():
        if len(several) > 1:
            means = {field: over_data_sets([one[field] for one in several]) for field in FIELDS}
            yield (f"all, {arm}", "", "", "", "", *_differences(means), verdict(means))


FIELDS = ("hits", "losses", "scaled_losses")
HEADER = (
    "photos, arm",
    "seeds",
    "accuracy by seed",
    "accuracy",
    "log-loss",
    "accuracy gained, points",
    "log-loss saved",
    "scaled log-loss saved",
    "verdict",
)


def _cells(arm: str, ours: Sequence[Judged], found: dict[str, Difference]) -> tuple[object, ...]:
    accuracy = np.mean([one.accuracy for one in ours])
    log_loss = np.mean([one.log_loss for one in ours])
    told = (f"{accuracy:.4f}", f"{log_loss:.4f}")
    return (*told, "", "", "", "compared with") if arm == BASE else (*told, *_differences(found), verdict(found))


def _differences(found: dict[str, Difference]) -> tuple[str, ...]:
    hits, losses, scaled = (found[field] for field in FIELDS)
    return (
        f"{100 * hits.mean:+.2f} ± {100 * hits.error:.2f}",
        f"{0.0 - losses.mean:+.4f} ± {losses.error:.4f}",
        f"{0.0 - scaled.mean:+.4f} ± {scaled.error:.4f}",
    )


def verdict(found: dict[str, Difference]) -> str:
    """By accuracy, else by scaled log-loss; each must be sure by two errors."""
    hits, losses = found["hits"], found["scaled_losses"]
    if hits.is_sure:
        return "helps" if hits.mean > 0 else "hurts"
    if losses.is_sure:
        return "helps log-loss only" if losses.mean < 0 else "hurts log-loss only"
    return "not shown to help"


def cost_rows(results: Sequence[Result]) -> Iterable[tuple[object, ...]]:
    """What each arm cost, as means over seeds."""
    for photos, arm in dict.fromkeys((one.photos, one.arm) for one in results):
        ours = [one for one in results if (one.photos, one.arm) == (photos, arm)]
        timed = [one.ms_per_photo for one in ours if one.ms_per_photo is not None]
        notes = "; ".join(dict.fromkeys(one.note for one in ours if one.note))
        yield (
            f"{photos}, {arm}",
            len(ours),
            f"{np.mean([one.trained_s for one in ours]):.0f}",
            f"{np.mean(timed):.1f}" if timed else "unknown",
            notes,
        )


COST_HEADER = ("photos, arm", "seeds", "training s", "ms a photo", "note")
