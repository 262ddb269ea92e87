"""`carsearch data check` against the decode limit of the cores: python -m benchmarks.data_check, about 3 minutes.

Photos of 640x480 in the contest's layout, each another picture. The whole command (start of Python, scan, near
duplicates, split, lists, contact sheet) against reading and decoding the same files in as many processes that run
already. `--rows 15561` is the contest's full size: 2 GB of disk, 10 minutes.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import PHOTOS, SHARED, cores, finish, interleaved, judge, machine, medians, quiet, table

quiet()

from benchmarks.photos import contest_jpegs, contest_rows, write_contest  # noqa: E402 - after `quiet`: albumentations
from carcls.dataset.loading import load_dataset  # noqa: E402 - the same
from carcls.photos.duplicates import near_groups  # noqa: E402 - the same

TARGET = 0.8
_BASES = 256
_CHUNK = 128
_QUALITY = 90


def main() -> None:
    arguments = _parse()
    names = contest_rows(SHARED / "data" / "kaggle_csv" / "train.csv")
    step = max(1, len(names) // arguments.rows)  # the file is sorted by class
    rows = names[::step][: arguments.rows]
    print(f"{len(rows):,} photos of 640x480, {cores()} processes, {arguments.rounds} rounds; {machine()}\n")
    with (
        tempfile.TemporaryDirectory(dir=arguments.scratch) as folder,
        multiprocessing.get_context("spawn").Pool(cores()) as pool,
    ):
        root = Path(folder) / "contest"
        bases = contest_jpegs(PHOTOS, _BASES)
        jpegs = pool.starmap(_variant, [(bases[number % _BASES], number) for number in range(len(rows))], chunksize=64)
        write_contest(root, rows, jpegs)
        paths = [root / "train" / category / name for name, category in rows]
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        pool.map(_decode, chunks[: 2 * cores()])  # imports are done, the files are in the page cache
        figures = interleaved(
            {
                "data check": lambda: len(rows) / _timed_check(root, Path(folder) / "out"),
                "decoding alone": lambda: len(rows) / _timed_decode(pool, chunks),
            },
            rounds=arguments.rounds,
        )
        dataset = load_dataset(root, processes=cores())
    rates = medians(figures)
    started = time.perf_counter()
    groups = near_groups([scan.thumbnail for scan in dataset.train_scans])
    seconds = time.perf_counter() - started
    print(
        table(
            ("what", "photos/s", "each round"),
            [(name, rates[name], " ".join(f"{rate:.0f}" for rate in rounds)) for name, rounds in figures.items()],
        )
    )
    print(f"\nnear duplicates among {len(dataset.train):,} photos: {seconds:.1f} s, {len(groups)} groups")
    verdict = judge("photos/s, data check", ours=rates["data check"], peer=rates["decoding alone"], target=TARGET)
    finish("data_check", [verdict], photos=len(rows), near_duplicates_s=round(seconds, 2))


def _timed_check(root: Path, out: Path) -> float:
    """Seconds of the whole command, the start of Python included."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "search.cli", "data", "check", str(root), "--output", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _timed_decode(pool: Pool, chunks: Sequence[Sequence[Path]]) -> float:
    started = time.perf_counter()
    for _ in pool.imap_unordered(_decode, chunks):
        pass
    return time.perf_counter() - started


def _decode(paths: Sequence[Path]) -> None:
    cv2.setNumThreads(0)
    for path in paths:
        if cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB) is None:
            raise RuntimeError(f"{path} does not decode")


def _variant(jpeg: bytes, number: int) -> bytes:
    """Another picture: a window of about half of each side, mirrored or not, at the size of the whole."""
    cv2.setNumThreads(0)
    rng = np.random.default_rng(number)
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    share = rng.uniform(0.45, 0.6)
    top, left = (int(rng.uniform(0, 1 - share) * side) for side in (height, width))
    window = image[top : top + int(share * height), left : left + int(share * width)]
    window = cv2.resize(window[:, :: rng.choice((-1, 1))], (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", window, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="photos, spread over the contest's rows (4000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn; the medians count (5)")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the photos (the system's own)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
