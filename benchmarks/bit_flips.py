"""Single bits flipped in what a study and the store keep: python -m benchmarks.bit_flips, about two minutes on 2 cores.

Each flip goes into a fresh copy of one file, which is then read as the commands read it. `named`: refused, with the
line where the file has lines. `mended`: told of or noticed, and put right. `harmless`: read as if nothing had happened,
and equal. `silent`: read as something else without a word. `traceback`: an error that is not for a user.
"""

import argparse
import json
import logging
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from carcls.config import StageConfig, TrainConfig
from carcls.errors import CarclsError
from carcls.events import EpochReport, PhaseSeconds
from carcls.scoring.evidence import Evidence
from carcls.splits.split_files import read_split
from carcls.store import Store
from carcls.store.damage import verify
from carcls.training.checkpoint import load_state, read_meta, save_state
from search.errors import SearchError, StudyError
from search.study.checked_files import check_folder, keep_files
from search.study.folder import StudyFolder
from search.study.study import Study

ENDS = ("named", "mended", "harmless", "silent", "traceback")
_LINE = re.compile(r"line \d+|lines \d+")
_NO_SECONDS = PhaseSeconds(train=0.0, validate=0.0)

Read = Callable[[Path], tuple[object, bool]]
"""From a file's path: what it holds, as a value to compare, and whether anything was told or mended meanwhile."""


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    file: Path
    """In a folder of its own, which is copied for each flip."""
    read: Read
    has_lines: bool = False


def measure(target: Target, *, flips: int, seed: int, scratch: Path) -> Counter[str]:
    """How many flips ended in which way; all of `ENDS`, in order."""
    rng, content = np.random.default_rng(seed), target.file.read_bytes()
    counts = Counter(dict.fromkeys(ENDS, 0))
    whole, _ = target.read(_copy(target, scratch, content))
    for _ in range(flips):
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        counts[_end(target, _copy(target, scratch, bytes(flipped)), whole)] += 1
    return counts


def _copy(target: Target, scratch: Path, content: bytes) -> Path:
    """The target's folder anew, its file with this content."""
    folder = scratch / target.file.parent.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(target.file.parent, folder)
    (folder / target.file.name).write_bytes(content)
    return folder / target.file.name


def _end(target: Target, path: Path, whole: object) -> str:
    try:
        found, told = target.read(path)
    except (SearchError, CarclsError) as error:
        return "named" if _LINE.search(str(error)) or not target.has_lines else "silent"
    except Exception:  # noqa: BLE001 - whatever else it raises is what is looked for
        return "traceback"
    if told:
        return "mended"
    return "harmless" if found == whole else "silent"


def targets(folder: Path) -> list[Target]:
    """A small study, a checkpoint and an artefact of the store, made in an empty folder."""
    study = _study(folder / "study")
    checkpoint = folder / "checkpoint" / "epoch-0001.npz"
    arrays = {f"model/layer{number}/kernel": _numbers(number, (8, 8)) for number in range(6)}
    save_state(checkpoint, arrays, {"position": {"epoch": 1}, "config": {"batch_size": 16}})
    root = folder / "store"
    Store(root).get_or_build(_KEY, _SHAPE, np.float32, _build)
    artefact = next(root.glob("*.npy"))
    return [
        Target("study.log, read", study.log, partial(_read_study, read_only=True), has_lines=True),
        Target("study.log, resumed", study.log, partial(_read_study, read_only=False), has_lines=True),
        Target("split.csv", study.split, _read_split, has_lines=True),
        Target("quarantine.csv", study.quarantine, _read_quarantine, has_lines=True),
        Target("checkpoint", checkpoint, _read_checkpoint),
        Target("probabilities", _evidence(folder / "probabilities"), _read_evidence),
        Target("store, first use since boot", artefact, _use_artefact),
        Target("store verify", artefact, _verify_artefact),
    ]


_KEY = {"kind": "pixels", "size_px": 8}
_SHAPE = (32, 8, 8, 3)
_CONFIG = TrainConfig(
    backbone="MobileNetV2",
    alpha=0.35,
    weights="none",
    image_size=32,
    batch_size=4,
    stages=tuple(StageConfig(name=name, unfreeze=0.5, epochs=2, learning_rate=1e-3) for name in ("head", "all")),
)


def _study(root: Path) -> StudyFolder:
    folder, rng = StudyFolder(root), np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = [f"{n}.jpg,train/{n % 3}/{n}.jpg,{n % 3},{rng.bytes(16).hex()}" for n in range(60)]
    folds = [f"{row},{'validation' if number % 5 == 4 else 'train'}\n" for number, row in enumerate(rows)]
    folder.split.write_text("Id,path,Category,digest,fold\n" + "".join(folds), encoding="utf-8")
    lost = [f"{n}.jpg,train/0/{n}.jpg,the content is broken or truncated\n" for n in range(60, 70)]
    folder.quarantine.write_text("Id,path,reason\n" + "".join(lost), encoding="utf-8")
    with Study.create(root, "cars") as study:
        keep_files(study, folder)
        for number in range(5):
            study.add_trial({"train.batch_size": 4}, _CONFIG, is_baseline=number == 0)
            _train(study, number)
        study.set_elapsed_s(12.5)
    return folder


def _train(study: Study, number: int) -> None:
    study.start_segment(number, 1)
    for epoch in (1, 2, 3, 4):
        accuracy = (epoch + number) / 10
        study.report(
            number,
            EpochReport(
                epoch=epoch,
                stage=(epoch - 1) // 2,
                stage_name="head" if epoch < 3 else "all",
                stage_epoch=(epoch - 1) % 2 + 1,
                stage_ended=epoch % 2 == 0,
                train_loss=1.0,
                train_accuracy=accuracy,
                val_log_loss=1.0 - accuracy,
                val_accuracy=accuracy,
                val_macro_f1=accuracy,
                learning_rate=1e-3,
                image_size=32,
                images_per_s=100.0,
                trainable_parameters=1000,
                seconds=_NO_SECONDS,
                checkpoint=f"attempt-0/epoch-{epoch:04d}.npz",
                best_weights=f"attempt-0/best-{epoch:04d}.npz",
            ),
        )
    study.reach_stage(number)


def _numbers(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _build(blank: object) -> None:
    blank[:] = _numbers(0, _SHAPE)  # type: ignore[index]  # an ArrayWriter


def _read_study(path: Path, *, read_only: bool) -> tuple[object, bool]:
    told = _Told()
    logging.getLogger("search").addHandler(told)
    try:
        with Study.open(path.parent, read_only=read_only) as study:
            return (study.records(), study.elapsed_s, study.facts, study.name), told.heard
    finally:
        logging.getLogger("search").removeHandler(told)


class _Told(logging.Handler):
    heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard = self.heard or (record.levelno >= logging.WARNING and bool(_LINE.search(record.getMessage())))


def _read_split(path: Path) -> tuple[object, bool]:
    check_folder(StudyFolder(path.parent))
    split = read_split(path, path.parent)
    return [
        (table.ids, table.paths, table.labels.tolist(), table.digests) for table in (split.train, split.validation)
    ], False


def _read_quarantine(path: Path) -> tuple[object, bool]:
    check_folder(StudyFolder(path.parent))
    return path.read_bytes(), False


def _evidence(folder: Path) -> Path:
    path = folder / "epoch-0001.npz"
    averages = {"ema-0.96": Evidence(_probabilities(2), _probabilities(3))}
    Evidence(_probabilities(0), _probabilities(1), averages).write(path)
    return path


def _probabilities(seed: int) -> NDArray[np.float16]:
    return np.abs(_numbers(seed, (12, 10))).astype(np.float16)


def _read_evidence(path: Path) -> tuple[object, bool]:
    found = Evidence.read(path)
    by_name = {"": found, **found.averages}
    return {name: (one.validation.tobytes(), _bytes(one.holdout)) for name, one in by_name.items()}, False


def _bytes(array: NDArray[np.float16] | None) -> bytes | None:
    return None if array is None else array.tobytes()


def _read_checkpoint(path: Path) -> tuple[object, bool]:
    meta = read_meta(path)
    arrays, again = load_state(path)
    if meta != again:
        raise StudyError("two readers of one checkpoint disagree")
    return ({key: (array.dtype.str, array.tobytes()) for key, array in arrays.items()}, meta), False


def _use_artefact(path: Path) -> tuple[object, bool]:
    """As the first process after a boot: what it is given, or, where the background check finds damage, the next."""
    for note in path.parent.glob("*.checked"):
        note.unlink()
    inode = path.stat().st_ino
    first = Store(path.parent).get_or_build(_KEY, _SHAPE, np.float32, _build)
    found = first.tobytes()
    for thread in threading.enumerate():
        if thread.name == "store-check":
            thread.join()
    mended = not path.exists() or path.stat().st_ino != inode
    return found, mended


def _verify_artefact(path: Path) -> tuple[object, bool]:
    found = np.load(path.open("rb")).tobytes() if all(verdict.is_whole for verdict in verify(path.parent)) else b""
    return found, not path.exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000, help="in each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for package in ("search", "carcls"):
        logging.getLogger(package).addHandler(logging.NullHandler())
        logging.getLogger(package).propagate = False
    total = Counter(dict.fromkeys(ENDS, 0))
    started = time.perf_counter()
    print(f"| file | flips | {' | '.join(ENDS)} |\n|{' --- |' * (len(ENDS) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder) / "whole"):
            counts = measure(target, flips=arguments.flips, seed=arguments.seed, scratch=Path(folder) / "flipped")
            total += counts
            print(
                f"| {target.name} | {arguments.flips:,} | {' | '.join(str(counts[end]) for end in ENDS)} |", flush=True
            )
    seconds = time.perf_counter() - started
    line = {"name": "bit_flips", **{end: total[end] for end in ENDS}, "seconds": round(seconds, 1)}
    print(json.dumps({**line, "holds": total["silent"] == total["traceback"] == 0}))


if __name__ == "__main__":
    main()
