"""The contest at its full size, with generated photos: python -m benchmarks.full_size, about 8 minutes on 2 cores.

15,561 photos of 640x480 under the contest's own ids, the store built at 224 px against the cores' limit (decoding and
resizing photos that are in memory, in threads or processes, whichever is faster), eight processes that read it at the
same time, an epoch of augmented batches, and the size on disk as predicted. About 5 GB of disk for the time being.
"""

import argparse
import multiprocessing
import multiprocessing.pool
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from benchmarks.harness import PHOTOS, SHARED, cores, finish, interleaved, judge, machine, quiet, table

quiet()

from benchmarks.photos import contest_jpegs, contest_rows, write_contest  # noqa: E402 - after `quiet`: albumentations
from carcls.dataset.loading import load_dataset  # noqa: E402 - after `quiet`
from carcls.dataset.table import ImageTable  # noqa: E402 - after `quiet`
from carcls.input.pixels import pixels, pixels_bytes, resize  # noqa: E402 - after `quiet`
from carcls.photos.photo import decode_bytes  # noqa: E402 - after `quiet`
from carcls.splits.split import Split, make_split  # noqa: E402 - after `quiet`
from carcls.store import Store  # noqa: E402 - after `quiet`

TARGET_OF_LIMIT = 0.8
TARGET_ONE_COPY = 0.95
TARGET_PREDICTED = 0.999
_DIFFERENT = 128
"""Pictures, written under many names with another comment in each."""
_LIMIT_PHOTOS = 512
_LIMIT_ROUNDS = 5


def main() -> None:
    arguments = _parse()
    rows = contest_rows(arguments.csv)[: arguments.rows]
    print(f"{len(rows):,} photos of 640x480, {arguments.size} px, {arguments.readers} readers; {machine()}\n")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        jpegs = contest_jpegs(arguments.source, _DIFFERENT)
        written = _timed(lambda: write_contest(Path(folder) / "contest", rows, jpegs))
        started = time.perf_counter()
        dataset = load_dataset(Path(folder) / "contest", processes=cores())
        scanned = time.perf_counter() - started
        # Each picture stands under many names, in every class: as near duplicates none could be held out.
        dataset = replace(dataset, train_scans=tuple(replace(scan, thumbnail=b"") for scan in dataset.train_scans))
        split, store = make_split(dataset, fraction=0.15, seed=0), Store(Path(folder) / "store")

        limits = _limits(jpegs, arguments.size)
        limit = max(median(rates) for rates in limits.values())
        built = _timed(lambda: _build(split, arguments.size, store))
        on_disk = sum(path.stat().st_size for path in store.root.rglob("*.npy"))
        predicted = pixels_bytes(split.labelled, arguments.size)
        shared = _shared_bytes(split.train, arguments.size, store, arguments.readers)
        epochs = _epoch_rates(split, arguments.size, store, arguments.epochs)

    print(
        table(
            ("what", "seconds", "photos/s"),
            [
                ("files written", written, len(rows) / written),
                ("data folder scanned, each photo decoded", scanned, len(rows) / scanned),
                *((f"limit, {name}", "", median(rates)) for name, rates in limits.items()),
                ("store built", built, len(rows) / built),
                ("epoch of augmented batches (light)", len(split.train) / median(epochs), median(epochs)),
            ],
        )
    )
    train_bytes = pixels_bytes(len(split.train), arguments.size)
    print(f"\n{arguments.readers} readers hold {shared / 1e9:.3f} GB together, of {train_bytes / 1e9:.3f} GB of pixels")
    print(f"on disk {on_disk / 1e9:.4f} GB, predicted {predicted / 1e9:.4f} GB")
    finish(
        "full_size",
        [
            judge(
                "photos/s, building the store, share of the limit",
                ours=len(rows) / built,
                peer=limit,
                target=TARGET_OF_LIMIT,
            ),
            judge(
                "bytes that the readers hold together, one copy",
                ours=shared,
                peer=train_bytes,
                target=TARGET_ONE_COPY,
                smaller_is_better=True,
            ),
            judge(
                "bytes on disk as predicted",
                ours=on_disk,
                peer=predicted,
                target=TARGET_PREDICTED,
                smaller_is_better=True,
            ),
        ],
        epoch_images_per_s=round(median(epochs)),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__)
    parser.add_argument("--rows", type=int, default=None, help="photos, the first of the contest's (all)")
    parser.add_argument("--size", type=int, default=224, help="side in px (%(default)s)")
    parser.add_argument("--readers", type=int, default=8, help="processes that read at once (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of batches, the median counts (%(default)s)")
    parser.add_argument("--source", type=Path, default=PHOTOS, help="folder of real photos (%(default)s)")
    parser.add_argument(
        "--csv",
        type=Path,
        default=SHARED / "data" / "kaggle_csv" / "train.csv",
        help="the contest's train.csv; as many ids are made up where it is absent (%(default)s)",
    )
    parser.add_argument("--scratch", type=Path, default=None, help="folder for photos and store (the system's own)")
    return parser.parse_args()


def _timed(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _limits(jpegs: Sequence[bytes], size_px: int) -> dict[str, list[float]]:
    """Photos/s of decoding and resizing alone: files in memory, nothing kept, nothing hashed, nothing written."""
    work = [(jpegs[number % len(jpegs)], size_px) for number in range(_LIMIT_PHOTOS)]
    with (
        multiprocessing.pool.ThreadPool(cores()) as threads,
        multiprocessing.get_context("spawn").Pool(cores(), _keep, (jpegs, size_px)) as processes,
    ):
        numbers = [number % len(jpegs) for number in range(_LIMIT_PHOTOS)]
        contenders: dict[str, Callable[[], float]] = {
            "threads": lambda: _LIMIT_PHOTOS / _timed(lambda: threads.map(_decode_and_resize, work, 16) and None),
            "processes": lambda: _LIMIT_PHOTOS / _timed(lambda: processes.map(_decode_kept, numbers, 16) and None),
        }
        figures = interleaved(contenders, rounds=_LIMIT_ROUNDS + 1)
    return {name: rates[1:] for name, rates in figures.items()}


_kept: list[tuple[bytes, int]] = []


def _keep(jpegs: Sequence[bytes], size_px: int) -> None:
    """In a worker: the files are there before the clock runs."""
    _kept.extend((jpeg, size_px) for jpeg in jpegs)


def _decode_kept(number: int) -> int:
    return _decode_and_resize(_kept[number])


def _decode_and_resize(work: tuple[bytes, int]) -> int:
    data, size_px = work
    return len(resize(decode_bytes(data), size_px))


def _build(split: Split, size_px: int, store: Store) -> None:
    for part in (split.train, split.validation):
        pixels(part, size_px, store, processes=cores())


def _shared_bytes(photos: ImageTable, size_px: int, store: Store, readers: int) -> int:
    """Proportional set size of the pixels over all readers, each of which has read every page."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(readers), context.Queue()
    processes = [context.Process(target=_read, args=(photos, size_px, store, barrier, answers)) for _ in range(readers)]
    for process in processes:
        process.start()
    total = sum(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def _read(photos: ImageTable, size_px: int, store: Store, barrier: Barrier, answers: "Queue[int]") -> None:
    array = pixels(photos, size_px, store, processes=1)
    for row in range(len(array)):
        array[row].sum()
    barrier.wait()
    answers.put(_proportional_bytes(store.root))
    barrier.wait()


def _proportional_bytes(root: Path) -> int:
    """Sum of Pss in /proc/self/smaps over maps of files below `root`."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(" ")
        if not name.endswith(":"):
            inside = str(root.resolve()) in line
        elif inside and name == "Pss:":
            total += int(value.split()[0]) * 1024
    return total


def _epoch_rates(split: Split, size_px: int, store: Store, epochs: int) -> list[float]:
    from benchmarks.feeding import feeding_config, our_epoch_rate
    from carcls.input.feeder import Feeder
    from carcls.input.training_data import TrainingData

    data = TrainingData(split=split, store=store, view_seed=0, processes=cores())
    config = feeding_config("light", size_px=size_px, batch_size=32)
    with Feeder(config, cores=cores(), batch_server=None) as feeder:
        return [our_epoch_rate(data, config, feeder, epoch=epoch) for epoch in range(epochs + 1)][1:]


if __name__ == "__main__":
    main()
