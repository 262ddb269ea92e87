"""The stock way to search: Ray Tune with OptunaSearch and AsyncHyperBandScheduler over a function trainable.

Fed a fixed list instead, for benchmarks that compare the cost of the same trainings: the list stands where searcher and
scheduler would decide. A whole search: python -m benchmarks.peers.stock --help.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.events import EVENTS, EventLog
from benchmarks.harness import PHOTOS, cores, quiet
from benchmarks.mobilenets import MOBILENETS, MobileNet
from benchmarks.ours import Entry, importable_by_workers
from benchmarks.peers.stock_trial import train_stock
from carcls.catalog import BACKBONES
from carcls.config import TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.splits.split import make_split
from carcls.splits.split_files import write_split


def entry_of(config: TrainConfig, *, stages: int) -> dict[str, Any]:
    """What `train_stock` trains: the same values as ours, as plain JSON."""
    return {
        "backbone": config.backbone,
        "alpha": config.alpha if BACKBONES[config.backbone].has_alpha else None,
        "weights": None if config.weights == "none" else config.weights,
        "rescale": BACKBONES[config.backbone].pixel_scaling == "minus_one_to_one",
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "dropout": config.head.dropout,
        "l2": config.head.l2,
        "label_smoothing": config.label_smoothing,
        "policy": config.augment.policy,
        "seed": config.seed,
        "stages": [
            {
                "unfreeze": stage.unfreeze,
                "epochs": stage.epochs,
                "learning_rate": stage.learning_rate,
                "warmup_epochs": stage.schedule.warmup_epochs,
            }
            for stage in config.stages[:stages]
        ],
    }


def train_list(
    root: Path, entries: Sequence[Entry], folder: Path, *, fraction: float, concurrent: int
) -> tuple[float, EventLog]:
    """(wall-clock seconds with Ray's start and end and the split, events). Raises RuntimeError where a trial fails."""
    started = time.monotonic()
    shared = _prepare(root, folder, fraction=fraction)
    specs = [entry_of(entry.config, stages=entry.stop_after_stage + 1) for entry in entries]
    events = EventLog(Path(shared["events"]))
    _tune(folder, _list_searcher([{**spec, **shared} for spec in specs], events), concurrent=concurrent)
    return time.monotonic() - started, events


def search(root: Path, folder: Path, *, trials: int, seed: int, concurrent: int) -> dict[str, Any]:
    """A whole stock search over the four MobileNets; the best trial's result."""
    results = _whole_search(root, folder, seed=seed, concurrent=concurrent, trials=trials)
    return dict(results.get_best_result("val_accuracy", "max", scope="all").metrics)


@dataclass(frozen=True, slots=True)
class StockReport:
    """One epoch of a stock search."""

    at_s: float
    """From the search's start, its scan of the photos included."""
    trial: str
    epoch: int
    val_accuracy: float


def timed_search(root: Path, folder: Path, *, wall_s: float, seed: int, concurrent: int) -> list[StockReport]:
    """A stock search that is ended after `wall_s` seconds: every epoch that was reported until then."""
    from ray import tune

    started = time.monotonic()
    reports: list[StockReport] = []

    class Notes(tune.Callback):
        def on_trial_result(self, iteration: int, trials: object, trial: Any, result: Any, **_: object) -> None:  # noqa: ANN401 - Ray's own
            at_s = time.monotonic() - started
            reports.append(StockReport(at_s, trial.trial_id, result["epoch"], result["val_accuracy"]))

    _whole_search(root, folder, seed=seed, concurrent=concurrent, wall_s=wall_s, callbacks=[Notes()])
    return [report for report in reports if report.at_s <= wall_s]


def _whole_search(root: Path, folder: Path, *, seed: int, concurrent: int, **limits: Any) -> Any:  # noqa: ANN401 - Ray's own
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    shared = _prepare(root, folder, fraction=0.15)
    bases = [{**entry_of(_search_base(net), stages=4), **shared, "number": 0} for net in MOBILENETS]
    space = {
        "entry": tune.choice([json.dumps(base) for base in bases]),
        "image_size": tune.choice([96, 128, 160]),
        "dropout": tune.uniform(0.0, 0.5),
        "label_smoothing": tune.uniform(0.0, 0.15),
        "head_rate": tune.loguniform(1e-4, 1e-2),
        "rate": tune.loguniform(3e-5, 1e-3),
    }
    scheduler = AsyncHyperBandScheduler(
        time_attr="epoch", metric="val_accuracy", mode="max", max_t=9, grace_period=3, reduction_factor=3
    )
    searcher = OptunaSearch(space, metric="val_accuracy", mode="max", seed=seed)
    return _tune(folder, searcher, concurrent=concurrent, scheduler=scheduler, trainable=_searched, **limits)


def _searched(config: dict[str, Any]) -> None:
    """A sampled point as `train_stock` takes it."""
    entry = json.loads(config["entry"])
    rates = [config["head_rate"], *(config["rate"] for _ in entry["stages"][1:])]
    stages = [{**stage, "learning_rate": rate} for stage, rate in zip(entry["stages"], rates, strict=True)]
    sampled = {key: config[key] for key in ("image_size", "dropout", "label_smoothing")}
    train_stock({"entry": {**entry, **sampled, "stages": stages}})


def _search_base(net: MobileNet) -> TrainConfig:
    return net.config(image_size=128, epochs=(3, 2, 2, 2))


def _prepare(root: Path, folder: Path, *, fraction: float) -> dict[str, Any]:
    """The split that every trial reads."""
    importable_by_workers()
    folder.mkdir(parents=True, exist_ok=True)
    split = make_split(load_dataset(root, processes=cores()), fraction=fraction, seed=0)
    write_split(split, folder / "split.csv")
    return {
        "root": str(root),
        "split": str(folder / "split.csv"),
        "class_count": len(split.class_names),
        "events": str(folder / EVENTS),
    }


def _list_searcher(specs: Sequence[Mapping[str, Any]], events: EventLog) -> Any:  # noqa: ANN401 - Ray is imported late
    from ray.tune.search import Searcher

    class ListSearcher(Searcher):
        """Hands the entries out in order, and notes when each was decided and when it ended."""

        def __init__(self) -> None:
            super().__init__(metric="val_accuracy", mode="max")
            self.next = 0
            self.entry_of: dict[str, int] = {}

        def suggest(self, trial_id: str) -> dict[str, Any] | str:
            if self.next == len(specs):
                return Searcher.FINISHED
            number, self.next = self.next, self.next + 1
            self.entry_of[trial_id] = number
            events.note(number, "decided")
            return {"entry": {**specs[number], "number": number}}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            events.note(self.entry_of[trial_id], "ended")

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    return ListSearcher()


def _tune(
    folder: Path,
    searcher: Any,  # noqa: ANN401
    *,
    concurrent: int,
    scheduler: Any = None,  # noqa: ANN401
    trials: int = -1,
    wall_s: float | None = None,
    callbacks: Sequence[Any] = (),
    trainable: Any = train_stock,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """The Tuner as the guides write it: a fresh process per trial, one core each."""
    import logging

    import ray
    from ray import tune

    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONPATH": os.environ["PYTHONPATH"]}
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": environment},
    )
    try:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=trials,
                max_concurrent_trials=concurrent,
                time_budget_s=wall_s,
            ),
            run_config=tune.RunConfig(
                name="stock", storage_path=str(folder), verbose=0, callbacks=list(callbacks) or None
            ),
        ).fit()
    finally:
        ray.shutdown()
    if results.errors:
        raise RuntimeError(f"a stock trial failed: {results.errors[0]}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.stock", description=__doc__)
    parser.add_argument("--trials", type=int, default=12, help="trials of the search (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the searcher (%(default)s)")
    parser.add_argument("--data", type=Path, default=PHOTOS, help="folder in the contest's layout (%(default)s)")
    arguments = parser.parse_args()
    quiet()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        best = search(arguments.data, Path(folder), trials=arguments.trials, seed=arguments.seed, concurrent=cores())
    print(
        f"{arguments.trials} trials in {time.monotonic() - started:.0f} s:"
        f" best validation accuracy {best['val_accuracy']:.3f} after {best['epoch']} epochs"
    )


if __name__ == "__main__":
    main()
