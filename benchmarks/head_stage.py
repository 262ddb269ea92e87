"""32 head trials with the store and without: python -m benchmarks.head_stage, about 25 minutes on 2 cores.

Real photos, MobileNet-0.75 and MobileNetV2-1.0 at 128 and 224 px, 4 views, 6 epochs a trial, through the whole
machinery of a search. One run with stores off, three with stores on, each with a store that is cold at the start. The
last epoch's metrics must agree, and each group (backbone and size) passes its frozen layers at most once for each view
and once for validation.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import PHOTOS, cores, finish, judge, machine, quiet, table

quiet()

from benchmarks.mobilenets import MOBILENETS  # noqa: E402 - after `quiet`: they bring albumentations
from benchmarks.ours import Entry, train_list, write_experiment  # noqa: E402 - after `quiet`
from carcls.events import EpochReport  # noqa: E402 - after `quiet`

TARGET = 6.0
TOLERANCE = 1e-3
EPOCHS = 6
_NETS = ("MobileNet-0.75", "MobileNetV2-1.0")
_VALIDATION = 0.15
_METRICS = ("val_accuracy", "val_log_loss", "val_macro_f1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of the list."""

    seconds: float
    last: tuple[EpochReport, ...]
    passes: int


def main() -> None:
    arguments = _parse()
    entries = head_trials(arguments.trials, arguments.sizes, arguments.views)
    groups = len(arguments.sizes) * len(_NETS)
    print(
        f"{len(entries)} head trials of {EPOCHS} epochs in {groups} groups, {arguments.views} views,"
        f" {arguments.concurrent} at once; {machine()}\n"
    )
    off = _run(entries, arguments, ["store.enabled=false"])
    print(f"off: {off.seconds:.0f} s", flush=True)
    on = []
    for _ in range(arguments.runs):
        on.append(_run(entries, arguments, []))
        print(f"on: {on[-1].seconds:.0f} s, {on[-1].passes} frozen passes", flush=True)
    seconds = median(run.seconds for run in on)
    worst = {name: max(largest_difference(off.last, run.last, name) for run in on) for name in _METRICS}
    allowed = groups * (arguments.views + 1)
    print()
    print(table(("largest difference, on and off", "last epoch"), list(worst.items())))
    finish(
        "head_stage",
        [
            judge("wall-clock seconds", ours=seconds, peer=off.seconds, target=TARGET, smaller_is_better=True),
            judge(
                "largest difference of a metric",
                ours=max(*worst.values(), 1e-9),
                peer=TOLERANCE,
                target=1.0,
                smaller_is_better=True,
            ),
            judge(
                "frozen passes over the photos",
                ours=max(run.passes for run in on) or 2 * EPOCHS * len(entries),  # nothing shared: all, every epoch
                peer=allowed,
                target=1.0,
                smaller_is_better=True,
            ),
        ],
    )


def head_trials(count: int, sizes: Sequence[int], views: int) -> list[Entry]:
    """`count` trials over the groups in turn, each with its own rate, dropout and seed. Pure."""
    groups = [(net, size) for net in MOBILENETS if net.name in _NETS for size in sizes]
    return [
        Entry(
            groups[number % len(groups)][0].config(
                image_size=groups[number % len(groups)][1],
                epochs=(EPOCHS,),
                learning_rates=(10 ** (-3.5 + 1.5 * number / count),),
                views=views,
                seed=number,
                dropout=0.1 * (number // len(groups) % 5),
            ),
            0,
        )
        for number in range(count)
    ]


def largest_difference(some: Sequence[EpochReport], others: Sequence[EpochReport], metric: str) -> float:
    """Of one metric, over pairs of reports. Raises ValueError where they are not as many."""
    return max(abs(getattr(a, metric) - getattr(b, metric)) for a, b in zip(some, others, strict=True))


def frozen_passes(store: Path) -> int:
    """Features in the store: one pass of photos through frozen layers for each (n, d) array of half precision.

    An array (views, n, d) counts as that many passes.
    """
    arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in store.rglob("*.npy")]
    return sum(math.prod(array.shape[:-2]) for array in arrays if array.dtype == np.float16)


def _run(entries: Sequence[Entry], arguments: argparse.Namespace, overrides: Sequence[str]) -> Outcome:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        experiment = write_experiment(
            folder,
            data_root=arguments.photos,
            config=entries[0].config,
            fraction=_VALIDATION,
            store=folder / "store",
            concurrent=arguments.concurrent,
        )
        run = train_list(experiment, entries, overrides)
        return Outcome(run.seconds, run.last_reports(), frozen_passes(folder / "store"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.head_stage", description=__doc__)
    parser.add_argument("--trials", type=int, default=32, help="head trials (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=(128, 224), help="sides in px (128 224)")
    parser.add_argument("--views", type=int, default=4, help="views of each photo (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs with stores on, the median counts (%(default)s)")
    parser.add_argument("--concurrent", type=int, default=cores(), help="trainings at once (%(default)s)")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder in the contest's layout (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
