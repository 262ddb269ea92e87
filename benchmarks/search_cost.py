"""The same 24 trainings by us and by the stock way: python -m benchmarks.search_cost, about 35 minutes on 2 cores.

A fixed list of (configuration, epochs) as a search by successive halving would leave it: four MobileNets at 96-160 px,
half of them trained through the head stage alone, an eighth to the end. Ours: the whole machinery of a search, its
store cold at the start, with stores on and with stores off. Stock: Ray Tune, keras.fit over tf.data. As many at once as
cores. A training step is a step of Keras's fit, at the median length of its fit call; all else is overhead.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.events import EventLog, Phases, all_phases
from benchmarks.harness import PHOTOS, cores, finish, judge, machine, quiet, table

quiet()

from benchmarks.mobilenets import MOBILENETS  # noqa: E402 - after `quiet`: they bring albumentations
from benchmarks.ours import Entry, train_list, write_experiment  # noqa: E402 - after `quiet`
from benchmarks.peers import stock  # noqa: E402 - after `quiet`

TARGET_TOTAL = 2.2
TARGET_OVERHEAD = 4.0
EPOCHS = (3, 2, 2, 2)
"""Of the stages: head, 50 %, 75 %, 100 %."""
SIZES = (96, 128, 160)
LAST_STAGES = (0, 1, 0, 3, 0, 1, 0, 2)
"""Of every eight trainings four end after the head, two after 50 %, one after 75 %, one after 100 %."""
_VALIDATION = 0.15
_SIDES = ("on", "off", "stock")


@dataclass(frozen=True, slots=True)
class Cost:
    """One side's list."""

    wall_s: float
    slots: int
    phases: tuple[Phases, ...]

    @property
    def steps_s(self) -> float:
        return sum(phase.steps for phase in self.phases)

    @property
    def overhead_s(self) -> float:
        """Slot-seconds that were not a training step: Ray's start, idle slots and the list's tail included."""
        return self.wall_s * self.slots - self.steps_s


def main() -> None:
    arguments = _parse()
    entries = fixed_list(arguments.entries)
    print(
        f"{len(entries)} trainings, {sum(entry.epochs for entry in entries)} epochs, {arguments.concurrent} at once,"
        f" photos of {arguments.photos.name}; {machine()}\n"
    )
    costs: dict[str, Cost] = {}
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            costs[side] = _cost(side, entries, arguments, Path(folder))
        print(f"{side}: {costs[side].wall_s:.0f} s", flush=True)
    print()
    print(table(("slot-seconds", *costs), phase_rows(costs)))
    if "stock" in costs and "on" in costs:
        ours, peer = costs["on"], costs["stock"]
        finish(
            "search_cost",
            [
                judge(
                    "total wall-clock seconds",
                    ours=ours.wall_s,
                    peer=peer.wall_s,
                    target=TARGET_TOTAL,
                    smaller_is_better=True,
                ),
                judge(
                    "slot-seconds that are no training step",
                    ours=ours.overhead_s,
                    peer=peer.overhead_s,
                    target=TARGET_OVERHEAD,
                    smaller_is_better=True,
                ),
            ],
            stores_off_s=round(costs["off"].wall_s, 1) if "off" in costs else None,
        )


def fixed_list(count: int) -> list[Entry]:
    """The first `count` of the 24: backbones in turn, sizes and rungs spread over them. Pure."""
    entries = []
    for number in range(count):
        net, lap = MOBILENETS[number % len(MOBILENETS)], number // len(MOBILENETS)
        config = net.config(
            image_size=SIZES[(number + lap) % len(SIZES)],
            epochs=EPOCHS,
            learning_rates=(1e-3 * (1 + lap % 3), 2e-4, 2e-4, 1e-4),
            seed=number,
            dropout=0.1 * (number % 4),
        )
        entries.append(Entry(config, LAST_STAGES[(number + lap) % len(LAST_STAGES)]))
    return entries


def phase_rows(costs: Mapping[str, Cost]) -> list[Sequence[object]]:
    """Where every slot-second went, by side. Pure."""
    names = ("start", "trace", "steps", "wait", "validate", "other")
    rows: list[Sequence[object]] = [
        (name, *(sum(getattr(phase, name) for phase in cost.phases) for cost in costs.values())) for name in names
    ]
    idle = [cost.wall_s * cost.slots - sum(phase.total for phase in cost.phases) for cost in costs.values()]
    return [
        *rows,
        ("no training", *idle),
        ("all", *(cost.wall_s * cost.slots for cost in costs.values())),
        ("all but steps", *(cost.overhead_s for cost in costs.values())),
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_cost", description=__doc__)
    parser.add_argument("--entries", type=int, default=24, help="trainings of the list (%(default)s)")
    parser.add_argument("--concurrent", type=int, default=cores(), help="trainings at once (%(default)s)")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder in the contest's layout (%(default)s)")
    parser.add_argument("--sides", nargs="+", choices=_SIDES, default=_SIDES, help="what is measured (on off stock)")
    return parser.parse_args()


def _cost(side: str, entries: Sequence[Entry], arguments: argparse.Namespace, folder: Path) -> Cost:
    slots = arguments.concurrent
    if side == "stock":
        wall_s, events = stock.train_list(
            arguments.photos, entries, folder / "stock", fraction=_VALIDATION, concurrent=slots
        )
        return Cost(wall_s, slots, _phases(events))
    experiment = write_experiment(
        folder,
        data_root=arguments.photos,
        config=entries[0].config,
        fraction=_VALIDATION,
        store=folder / "store",
        concurrent=slots,
    )
    run = train_list(experiment, entries, ["store.enabled=false"] if side == "off" else [])
    return Cost(run.seconds, slots, _phases(run.events))


def _phases(events: EventLog) -> tuple[Phases, ...]:
    return tuple(all_phases(events).values())


if __name__ == "__main__":
    main()
