"""What one process of `benchmarks.jax_backend` does: python -m benchmarks.jax_child WHAT ARGUMENTS.

Needs no package that the environment of `make jax` lacks. Prints JSON.
"""

import json
import os
import sys
import time

STARTED_S = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import threading  # noqa: E402 - the clock starts first
from pathlib import Path  # noqa: E402 - as above
from typing import Any  # noqa: E402 - as above

from carcls.backend.compile_cache import CompileCache  # noqa: E402 - as above
from carcls.config import TrainConfig  # noqa: E402 - as above

STAGES = [
    {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 1e-3},
    {"name": "all", "unfreeze": 1.0, "epochs": 2, "learning_rate": 1e-4},
]


def config(size_px: int, batch: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "backbone": "MobileNetV2",
            "alpha": 0.35,
            "weights": "none",
            "image_size": size_px,
            "batch_size": batch,
            "augment": {"policy": "none"},
            "stages": STAGES,
        }
    )


def startup(photos: Path, store: Path, cache: Path | None, size_px: int, batch: int) -> dict[str, Any]:
    """Seconds of a training in a fresh process, phase by phase."""
    from carcls.dataset.loading import load_dataset
    from carcls.input.training_data import TrainingData
    from carcls.splits.split import make_split
    from carcls.store import Store
    from carcls.training.fine_tuning import fine_tune

    imported_s = time.perf_counter() - STARTED_S
    if cache is not None:
        CompileCache(cache, 10**10).use(os.environ)
    data = TrainingData(make_split(load_dataset(photos, processes=1), fraction=0.25, seed=0), Store(store), view_seed=0)
    reports: list[Any] = []
    began = time.perf_counter()
    fine_tune(config(size_px, batch), data, reports.append, folder=store / f"trial-{os.getpid()}")
    return {
        "import_s": imported_s,
        "build_s": sum(report.seconds.build for report in reports),
        "compile_s": sum(report.seconds.trace for report in reports),
        "epoch_s": reports[-1].seconds.train,
        "training_s": time.perf_counter() - began,
    }


def clock(size_px: int, batch: int, steps: int, prepare_s: float) -> list[dict[str, Any]]:
    """Steps of `fit` without a clock, with one that Keras waits for, and with ours; each batch takes `prepare_s` of a
    thread's time, without using the processor."""
    import keras
    import numpy as np

    from carcls.training.steps.step_clock import StepClock

    class Ours(StepClock):
        def __init__(self) -> None:
            super().__init__()
            self.dispatched_early = 0
            self.on_main = 0

        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            self.dispatched_early += batch > 0 and batch - 1 not in self._ended
            super().on_train_batch_begin(batch, logs)

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.on_main += threading.current_thread() is threading.main_thread()
            super().on_train_batch_end(batch, logs)

    class Waiting(Ours):
        async_safe = False

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (batch, size_px, size_px, 3)).astype(np.uint8)
    y = np.eye(10, dtype=np.float32)[rng.integers(0, 10, batch)]

    class Epoch(keras.utils.PyDataset):
        def __len__(self) -> int:
            return steps

        def __getitem__(self, number: int) -> tuple[object, object]:
            time.sleep(prepare_s)
            return x, y

    inner = keras.applications.MobileNetV2(
        input_shape=(size_px, size_px, 3), alpha=0.35, weights=None, include_top=True, classes=10
    )
    inner.compile(optimizer=keras.optimizers.Adam(1e-4), loss="categorical_crossentropy")
    inner.fit(Epoch(), shuffle=False, verbose=0)
    found = []
    for _ in range(3):
        for kind in (None, Waiting, Ours):
            callback = None if kind is None else kind()
            began = time.perf_counter()
            inner.fit(Epoch(), shuffle=False, verbose=0, callbacks=[callback] if callback else [])
            found.append(
                {
                    "clock": "none" if callback is None else "waited for" if kind is Waiting else "ours",
                    "step_s": (time.perf_counter() - began) / steps,
                    "dispatched_early": callback.dispatched_early if callback else None,
                    "fetched_by_the_training_thread": callback.on_main if callback else None,
                }
            )
    return found


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "startup":
        photos, store, cache, size_px, batch = rest
        found: Any = startup(Path(photos), Path(store), Path(cache) if cache else None, int(size_px), int(batch))
    else:
        size_px, batch, steps, prepare_s = rest
        found = clock(int(size_px), int(batch), int(steps), float(prepare_s))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
