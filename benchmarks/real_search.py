"""Whole searches in the flesh, equally long: python -m benchmarks.real_search, about 75 minutes on 2 cores.

Real photos, four MobileNets at 96-160 px, staged fine-tuning of nine epochs. Ours: what `carsearch run` runs, its store
cold at the start. Stock: Ray Tune with OptunaSearch and AsyncHyperBandScheduler over keras.fit, the same space but for
one rate for all unfrozen stages, where ours has one for each. Each has the same wall-clock, Ray's start and the scan of
the photos included. A figure is the best validation accuracy of a training that had all its stages by then.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.harness import PHOTOS, cores, finish, judge, machine, quiet, table

quiet()

from benchmarks.mobilenets import MOBILENETS  # noqa: E402 - after `quiet`: they bring albumentations
from benchmarks.peers import stock  # noqa: E402 - after `quiet`
from search.driver.create import create_study  # noqa: E402 - after `quiet`
from search.experiment.experiment import load  # noqa: E402 - after `quiet`
from search.on_ray.search import search  # noqa: E402 - after `quiet`
from search.policy.records import TrialRecord, TrialState  # noqa: E402 - after `quiet`
from search.progress.summary import Spent  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`

TARGET = 1.0
"""At least as good as stock."""
EPOCHS = (3, 2, 2, 2)
VALIDATION = 0.15


@dataclass(frozen=True, slots=True)
class Found:
    """What a search had found when its time was over."""

    accuracy: float
    """Of the best whole training; 0 without any."""
    at_s: float
    """When that training had ended, from the search's start."""
    whole: int
    """Trainings that had all their stages."""
    trials: int


def best_found(ended: Sequence[tuple[float, float]], *, wall_s: float, trials: int) -> Found:
    """`ended`: (seconds, best validation accuracy) of each whole training; the first of equals counts. Pure."""
    in_time = [(accuracy, -at_s) for at_s, accuracy in ended if at_s <= wall_s]
    accuracy, minus_at_s = max(in_time, default=(0.0, 0.0))
    return Found(accuracy, -minus_at_s, len(in_time), trials)


def main() -> None:
    arguments = _parse()
    print(f"{arguments.minutes:g} minutes each, {len(arguments.seeds)} seeds; {machine()}\n")
    found: dict[str, list[Found]] = {"ours": [], "stock": []}
    for seed in arguments.seeds:
        for side, run in (("ours", _ours), ("stock", _stock)):
            with tempfile.TemporaryDirectory() as folder:
                found[side].append(run(Path(folder), arguments, seed))
            print(f"seed {seed}, {side}: {found[side][-1]}", flush=True)
    rows = [
        (f"{side}, seed {seed}", one.accuracy, one.at_s, one.whole, one.trials)
        for side, ones in found.items()
        for seed, one in zip(arguments.seeds, ones, strict=True)
    ]
    print()
    print(table(("", "best whole training", "found after s", "whole trainings", "trials"), rows))
    ours, theirs = (mean(one.accuracy for one in found[side]) for side in ("ours", "stock"))
    finish(
        "real_search",
        [judge("best validation accuracy of a whole training, mean", ours=ours, peer=theirs, target=TARGET)],
        found_after_s={side: round(mean(one.at_s for one in ones), 1) for side, ones in found.items()},
    )


def _ours(folder: Path, arguments: argparse.Namespace, seed: int) -> Found:
    path = folder / "ours.yaml"
    path.write_text(json.dumps(experiment_tree(folder, arguments, seed)), encoding="utf-8")  # JSON is YAML
    started = time.monotonic()
    study = create_study(load(path))
    ended: dict[int, tuple[float, float]] = {}
    records: Sequence[TrialRecord] = ()

    class Notes:
        """Notes when each whole training had ended."""

        def update(self, known: Sequence[TrialRecord], spent: Spent) -> None:
            nonlocal records
            records = known
            for record in known:
                if record.state is TrialState.COMPLETE and record.number not in ended and record.best:
                    ended[record.number] = (time.monotonic() - started, record.best.val_accuracy)

    @contextmanager
    def notes() -> Iterator[Notes]:
        yield Notes()

    search(study, open_experiment(study), progress=notes())
    return best_found(list(ended.values()), wall_s=60 * arguments.minutes, trials=len(records))


def experiment_tree(folder: Path, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The stock script's space as an experiment of ours, with the policy that our files use."""
    config = MOBILENETS[-1].config(image_size=128, epochs=EPOCHS).model_dump(mode="json", exclude_none=True)
    nets = {
        net.name.replace(".", "_"): {
            key: net.config(image_size=128, epochs=EPOCHS).model_dump()[key] for key in _OF_A_BACKBONE
        }
        for net in reversed(MOBILENETS)
    }
    rates = [[1e-4, 1e-2], *([[3e-5, 1e-3]] * (len(EPOCHS) - 1))]
    stages = [
        {**stage, "learning_rate": {"loguniform": rate}} for stage, rate in zip(config["stages"], rates, strict=True)
    ]
    train = {
        **{key: value for key, value in config.items() if key not in _OF_A_BACKBONE},
        "backbone": {"choice": nets},
        "image_size": {"choice": [160, 128, 96]},
        "label_smoothing": {"uniform": [0.0, 0.15]},
        "head": {**config["head"], "dropout": {"uniform": [0.0, 0.5]}},
        "stages": stages,
    }
    return {
        "name": "ours",
        "data": {"root": str(arguments.photos.resolve()), "validation": {"fraction": VALIDATION, "seed": 0}},
        "train": train,
        "search": {
            "trials": 1000,
            "seed": seed,
            "budget": {"hours": arguments.minutes / 60},
            "scheduler": dict(arguments.scheduler),
            "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
            "baseline": {
                "image_size": 160,
                "stages": {
                    stage["name"]: {"learning_rate": 2e-3 if number == 0 else 2e-4}
                    for number, stage in enumerate(stages)
                },
            },
        },
        "results": str(folder / "results"),
        "store": {"root": str(folder / "store")},
    }


_OF_A_BACKBONE = ("backbone", "alpha", "weights")


def _stock(folder: Path, arguments: argparse.Namespace, seed: int) -> Found:
    wall_s = 60 * arguments.minutes
    reports = stock.timed_search(arguments.photos, folder, wall_s=wall_s, seed=seed, concurrent=cores())
    best: dict[str, float] = {}
    ended = []
    for report in reports:
        best[report.trial] = max(best.get(report.trial, 0.0), report.val_accuracy)
        if report.epoch == sum(EPOCHS):
            ended.append((report.at_s, best[report.trial]))
    return best_found(ended, wall_s=wall_s, trials=len(best))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_search", description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0, help="of each search (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="(0 1 2)")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder in the contest's layout (%(default)s)")
    parser.add_argument(
        "--scheduler",
        type=json.loads,
        default={"kind": "adaptive", "reduction_factor": 3},
        help="`search.scheduler` of ours, as JSON (%(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
