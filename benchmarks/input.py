"""Augmented 224 px batches from 640x480 JPEGs, steady epochs: python -m benchmarks.input, about 6 minutes on 2 cores.

Ours: training batches from a warm pixel store, as a training has them; beside them the same batches made by threads.
Peer: tf.data that decodes, resizes and augments in every epoch. Limit: albumentations alone on photos in memory, on the
same cores, in threads or processes, whichever is faster.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.harness import PHOTOS, cores, finish, interleaved, judge, machine, medians, quiet, table

quiet()

from benchmarks import feeding, policies  # noqa: E402 - after `quiet`, or albumentations asks the network
from benchmarks.limit import Limit  # noqa: E402 - after `quiet`
from benchmarks.photos import contest_jpegs, write_contest  # noqa: E402 - after `quiet`
from carcls.config import TrainConfig  # noqa: E402 - after `quiet`
from carcls.dataset.loading import load_dataset  # noqa: E402 - after `quiet`
from carcls.input.feeder import Feeder  # noqa: E402 - after `quiet`
from carcls.input.training_data import TrainingData  # noqa: E402 - after `quiet`
from carcls.splits.split import make_split  # noqa: E402 - after `quiet`
from carcls.store import Store  # noqa: E402 - after `quiet`

TARGET_OF_LIMIT = 0.8
TARGET_OF_PIPELINE = 5.0
OURS, OUR_THREADS = "ours", "ours, threads"
THREADS, PROCESSES, PIPELINE = "limit, threads", "limit, processes", "tf.data pipeline"
_COLUMNS = (OURS, OUR_THREADS, THREADS, PROCESSES, PIPELINE)


def main() -> None:
    arguments = _parse()
    print(f"{arguments.photos} photos of 640x480, {arguments.size} px, batches of {arguments.batch}; {machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        data = _data(Path(folder), arguments)
        figures = {policy: _measure(policy, data, Path(folder), arguments) for policy in arguments.policies}
    rows = [(policy, *(row[name] for name in _COLUMNS), row[OURS] / _limit(row)) for policy, row in figures.items()]
    print(table(("images/s", *_COLUMNS, "of the limit"), rows))
    first, against = arguments.policies[0], figures[arguments.policies[0]]
    finish(
        "input",
        [
            *(
                judge(f"{policy}: share of the limit", ours=row[OURS], peer=_limit(row), target=TARGET_OF_LIMIT)
                for policy, row in figures.items()
            ),
            judge(
                f"{first}: times the pipeline", ours=against[OURS], peer=against[PIPELINE], target=TARGET_OF_PIPELINE
            ),
        ],
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input", description=__doc__)
    parser.add_argument("--photos", type=int, default=1024, help="training photos (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side in px (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="photos in a batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="epochs measured, the median counts (%(default)s)")
    parser.add_argument("--workers", type=int, default=cores(), help="threads or processes of ours (%(default)s)")
    parser.add_argument("--source", type=Path, default=PHOTOS, help="folder of real photos (%(default)s)")
    parser.add_argument(
        "--policies",
        nargs="+",
        choices=policies.POLICIES,
        default=[policies.FLIP, "strong"],
        help="the first is compared with the pipeline (flip strong)",
    )
    return parser.parse_args()


def _data(folder: Path, arguments: argparse.Namespace) -> TrainingData:
    """About as many training photos as asked for, and a few to validate, pixels in a store of its own."""
    rows = [(f"{number}.jpg", str(number % 10)) for number in range(arguments.photos + 64)]
    write_contest(folder / "contest", rows, contest_jpegs(arguments.source, min(256, arguments.photos)))
    dataset = load_dataset(folder / "contest", processes=1)
    split = make_split(dataset, fraction=64 / len(rows), seed=0)
    return TrainingData(split=split, store=Store(folder / "store"), view_seed=0, processes=arguments.workers)


def _measure(policy: str, data: TrainingData, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Median images/s by contender; the first epoch of each, in which pools and caches fill, does not count."""
    config = feeding.feeding_config(
        policies.as_setting(policy, folder), size_px=arguments.size, batch_size=arguments.batch
    )
    limit = Limit(data.pixels("train", arguments.size), policy, workers=cores())
    with Feeder(config, cores=data.processes, batch_server=None) as feeder:
        contenders: Mapping[str, Callable[[], float]] = {
            THREADS: limit.in_threads,
            PROCESSES: limit.in_processes,
            OURS: _ours(data, config, feeder),
            OUR_THREADS: _ours(data, config, None),
            PIPELINE: _pipeline(data, policy, arguments),
        }
        figures = interleaved(contenders, rounds=arguments.rounds + 1)
    limit.close()
    return medians({name: rates[1:] for name, rates in figures.items()})


def _ours(data: TrainingData, config: TrainConfig, feeder: Feeder | None) -> Callable[[], float]:
    epochs = itertools.count()
    return lambda: feeding.our_epoch_rate(data, config, feeder, epoch=next(epochs))


def _pipeline(data: TrainingData, policy: str, arguments: argparse.Namespace) -> Callable[[], float]:
    from benchmarks.peers.pipeline import pipeline

    photos = data.split.train
    dataset = pipeline(
        [photos.root / path for path in photos.paths],
        photos.labels,
        class_count=len(data.split.class_names),
        size_px=arguments.size,
        batch_size=arguments.batch,
        transforms=policies.transforms(policy),
        training=True,
        cache=False,
    )

    def epoch() -> float:
        started = time.perf_counter()
        seen = sum(len(y) for _, y in dataset)
        return seen / (time.perf_counter() - started)

    return epoch


def _limit(row: Mapping[str, float]) -> float:
    return max(row[THREADS], row[PROCESSES])


if __name__ == "__main__":
    main()
