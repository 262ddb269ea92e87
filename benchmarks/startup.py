"""From the decision to the first training step: python -m benchmarks.startup, about 12 minutes on 2 cores.

Ours: a fresh child of the warm fork server, through the whole machinery of a search, photos in the store. Stock: a Ray
Tune trial in a fresh process that imports TensorFlow. One training at a time. "First step" is when Keras calls the
training step first: model built, weights loaded, compiled; ours has its first batch ready then, stock may not (tf.data
fetches inside the step, which flatters stock). Weights: ImageNet's for the MobileNets, none for heavier ones.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.events import Phases, all_phases
from benchmarks.harness import PHOTOS, finish, judge, machine, quiet, table

quiet()

from benchmarks.mobilenets import MOBILENETS, MobileNet  # noqa: E402 - after `quiet`: they bring albumentations
from benchmarks.ours import Entry, train_list, write_experiment  # noqa: E402 - after `quiet`
from benchmarks.peers import stock  # noqa: E402 - after `quiet`
from benchmarks.photos import contest_jpegs, write_contest  # noqa: E402 - after `quiet`
from carcls.config import TrainConfig  # noqa: E402 - after `quiet`

TARGET_S = 1.0
_PHOTOS = 120
_VALIDATION = 0.2
"""Few photos, three steps: what comes after the first step is not measured here."""
HEAVIER = ("EfficientNetB0", "InceptionV3", "Xception", "EfficientNetB3")
FULL, HEAD = "everything trains", "head alone"
_COLUMNS = ("to first step", "worst", "to its end", "runs")


def main() -> None:
    arguments = _parse()
    print(f"one training at a time, {arguments.size} px, batches of {arguments.batch}; {machine()}\n")
    nets = MOBILENETS[: arguments.mobilenets]
    names, entries = _entries(arguments)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        listed = [(f"{number}.jpg", str(number % 10)) for number in range(_PHOTOS)]
        write_contest(photos, listed, contest_jpegs(arguments.source, _PHOTOS))
        ours = _ours(entries, photos, Path(folder))
        theirs = _stock(entries[: arguments.stock_reps * len(nets)], photos, Path(folder))
    print(f"first of all, with the fork server's own start: {ours[0].start:.2f} s to the first step\n")
    # The first round fills the store and warms the actor; it does not count.
    rows = _rows(_by_name(names, ours, skip=len(nets) * 2))
    print(table(("ours, seconds from the decision", *_COLUMNS), rows))
    print()
    stock_rows = _rows(_by_name(names, theirs, skip=0))
    print(table(("stock, seconds from the decision", *_COLUMNS), stock_rows))
    wanted = [f"{net.name}, {FULL}" for net in nets]
    mobile = [row for row in rows if row[0] in wanted]
    ours_s, stock_s = median(row[1] for row in mobile), median(row[1] for row in stock_rows)
    verdict = judge(
        "seconds to the first step, median of four MobileNets; the target is ours in seconds",
        ours=ours_s,
        peer=stock_s,
        target=TARGET_S,
        smaller_is_better=True,
    )
    slowest_s = max(row[1] for row in mobile)
    finish("startup", [replace(verdict, holds=ours_s < TARGET_S)], slowest_mobilenet_s=round(slowest_s, 3))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--reps", type=int, default=5, help="runs of each training that count (%(default)s)")
    parser.add_argument("--stock-reps", type=int, default=5, help="runs of each MobileNet by stock (%(default)s)")
    parser.add_argument("--heavier-reps", type=int, default=1, help="runs of each heavier backbone (%(default)s)")
    parser.add_argument("--mobilenets", type=int, default=4, help="how many of the four (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="side in px (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="photos in a batch (%(default)s)")
    parser.add_argument("--source", type=Path, default=PHOTOS, help="folder of real photos (%(default)s)")
    return parser.parse_args()


def _entries(arguments: argparse.Namespace) -> tuple[list[str], list[Entry]]:
    """Round by round: every MobileNet with everything trainable, then with its head alone; one round to warm up."""

    def mobile(net: MobileNet, unfreeze: float) -> Entry:
        config = net.config(
            image_size=arguments.size,
            epochs=(1,),
            unfreeze=(unfreeze,),
            learning_rates=(2e-4,),
            batch_size=arguments.batch,
        )
        return Entry(config, 0)

    nets = MOBILENETS[: arguments.mobilenets]
    one_round = [
        *((f"{net.name}, {FULL}", mobile(net, 1.0)) for net in nets),
        *((f"{net.name}, {HEAD}", mobile(net, 0.0)) for net in nets),
    ]
    heavier = [
        (f"{name}, {FULL}, no weights", Entry(_heavier(name, arguments), 0)) for name in HEAVIER
    ] * arguments.heavier_reps
    named = [*one_round * (arguments.reps + 1), *heavier]
    return [name for name, _ in named], [entry for _, entry in named]


def _heavier(name: str, arguments: argparse.Namespace) -> TrainConfig:
    base = MOBILENETS[0].config(
        image_size=arguments.size, epochs=(1,), unfreeze=(1.0,), learning_rates=(2e-4,), batch_size=arguments.batch
    )
    return TrainConfig.model_validate(
        {**base.model_dump(mode="json"), "backbone": name, "alpha": 1.0, "weights": "none"}
    )


def _ours(entries: Sequence[Entry], photos: Path, folder: Path) -> list[Phases]:
    experiment = write_experiment(
        folder / "ours",
        data_root=photos,
        config=entries[0].config,
        fraction=_VALIDATION,
        store=folder / "store",
        concurrent=1,
    )
    return list(all_phases(train_list(experiment, entries).events).values())


def _stock(entries: Sequence[Entry], photos: Path, folder: Path) -> list[Phases]:
    _, events = stock.train_list(photos, entries, folder / "stock", fraction=_VALIDATION, concurrent=1)
    return list(all_phases(events).values())


def _by_name(names: Sequence[str], found: Sequence[Phases], *, skip: int) -> dict[str, list[Phases]]:
    by_name: dict[str, list[Phases]] = {}
    for name, phase in list(zip(names, found, strict=False))[skip:]:
        by_name.setdefault(name, []).append(phase)
    return by_name


def _rows(by_name: Mapping[str, Sequence[Phases]]) -> list[tuple[str, float, float, float, int]]:
    return [
        (
            name,
            median(phase.start for phase in found),
            max(phase.start for phase in found),
            median(phase.first_step for phase in found),
            len(found),
        )
        for name, found in by_name.items()
    ]


if __name__ == "__main__":
    main()
