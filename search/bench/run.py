"""Runs measurements one after another, each in processes of its own, until they are done or the time is over."""

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from carcls.config import ScheduleConfig, StageConfig, TrainConfig
from search.bench.entry import measure_main
from search.bench.plan import Wishes, next_measurement
from search.bench.results import Feeding, Measured, Training
from search.bench.task import FeedTask, Gate, StepTask
from search.experiment.settings import StoreSettings
from search.worker.fork_server import fork_server
from search.worker.segment import Outcome, Result, Segment
from search.worker.supervisor import segment_messages

_INPUT_MODEL, _INPUT_BATCH = "MobileNetV2", 32
"""Of a configuration that is only fed. The backbone does not matter."""


class _OutOfTimeError(Exception):
    """The time for measurements is over."""


class Bencher:
    """Measures on one machine."""

    def __init__(self, *, gpus: int, steps: int | None, minutes: float, memory_bytes: int | None) -> None:
        """gpus: of this machine; the first one is measured. steps: of each training, None for a few seconds' worth.
        memory_bytes: for all trainings at once on CPUs, or None for no limit."""
        self._gpus = gpus
        self._steps = steps
        self._memory_bytes = memory_bytes
        self._ends_s = time.monotonic() + 60 * minutes
        self._stopped = threading.Event()

    def measurements(self, wishes: Wishes) -> Iterator[Measured]:
        """Measures what is wished, the most important first, and yields each result."""
        done: list[Measured] = []
        while (what := next_measurement(wishes, done, left_s=self._ends_s - time.monotonic())) is not None:
            done.append(self.measure(what))
            yield done[-1]

    def measure(self, what: Training | Feeding) -> Measured:
        """One measurement. Running out of memory or time is a result."""
        started = time.monotonic()
        count = what.at_once if isinstance(what, Training) else 1
        gate = fork_server().Barrier(count) if count > 1 else None
        with tempfile.TemporaryDirectory(prefix="carsearch-bench-") as folder, ThreadPoolExecutor(count) as pool:
            outputs = [Path(folder) / str(number) / "output.log" for number in range(count)]
            try:
                parts = list(pool.map(partial(self._one, what, gate), outputs))
            except BaseException:  # Ctrl-C too: the children must not outlive the command
                self._stopped.set()
                raise
        return replace(_joined(what, parts), seconds=time.monotonic() - started)

    def _one(self, what: Training | Feeding, gate: Gate | None, output: Path) -> Measured:
        task: StepTask | FeedTask = FeedTask(str(output))
        if isinstance(what, Training):
            limit = None if self._gpus or self._memory_bytes is None else self._memory_bytes // what.at_once
            task = StepTask(str(output), self._steps, limit)
        main: Callable[..., None] = partial(measure_main, task, gate)
        values: dict[str, Any] = {}
        try:
            with contextlib.closing(
                segment_messages(
                    self._segment(what, output), main, whose="the measurement", raise_if_due=self._raise_if_due
                )
            ) as messages:
                for message in messages:
                    if isinstance(message, Result):
                        values = json.loads(message.content)
                    elif isinstance(message, Outcome):
                        return _measured(what, message, values, is_limited=_is_limited(task))
        except _OutOfTimeError:
            return Measured(what, "out_of_time", "the time was over")
        return Measured(what, "failed", "the process ended without an outcome")

    def _raise_if_due(self) -> None:
        if self._stopped.is_set() or time.monotonic() > self._ends_s:
            raise _OutOfTimeError

    def _segment(self, what: Training | Feeding, output: Path) -> Segment:
        return Segment(
            study=str(output.parent),
            number=0,
            attempt=0,
            config=config_of(what).model_dump(mode="json"),
            resume=None,
            stop_after_stage=0,
            data_root="",
            view_seed=0,
            store=StoreSettings(enabled=False).model_dump(mode="json"),
            threads=what.threads if isinstance(what, Training) else what.processes,
            gpu_share=1 / what.at_once if isinstance(what, Training) and self._gpus else None,
            gpu=0 if isinstance(what, Training) and self._gpus else None,
            deterministic=False,
        )


def config_of(what: Training | Feeding) -> TrainConfig:
    """The configuration to measure. Its BatchNorm is frozen, as with pretrained weights."""
    model = {"backbone": _INPUT_MODEL, "alpha": 1.0, "batch_size": _INPUT_BATCH}
    if isinstance(what, Training):
        model = {
            "backbone": what.backbone,
            "alpha": what.alpha,
            "batch_size": what.batch_size,
            "precision": what.precision,
        }
    stage = StageConfig(
        name="all",
        unfreeze=1.0,
        epochs=2,
        learning_rate=1e-4,
        schedule=ScheduleConfig(kind="constant"),
        batch_norm="frozen",
    )
    augment = {"policy": what.policy if isinstance(what, Feeding) else "none"}
    return TrainConfig.model_validate(
        {**model, "weights": "none", "image_size": what.image_size, "augment": augment, "stages": [stage]}
    )


def _is_limited(task: StepTask | FeedTask) -> bool:
    return isinstance(task, StepTask) and task.memory_bytes is not None


def _measured(what: Training | Feeding, outcome: Outcome, values: dict[str, Any], *, is_limited: bool) -> Measured:
    if outcome.kind == "ended" and values:
        return Measured(what, "measured", **values)
    cause = outcome.cause or outcome.kind
    # TensorFlow's convolutions on CPUs crash if an allocation fails.
    is_memory = outcome.kind == "out_of_memory" or (outcome.kind == "killed" and is_limited)
    return Measured(what, "out_of_memory" if is_memory else "failed", cause)


def _joined(what: Training | Feeding, parts: list[Measured]) -> Measured:
    """The mean of trainings at once, or the first one that did not end well."""
    failed = next((part for part in parts if part.state != "measured"), None)
    if failed is not None:
        return failed
    return Measured(
        what,
        "measured",
        images_per_s=fmean(part.images_per_s for part in parts),
        forward_images_per_s=fmean(part.forward_images_per_s for part in parts),
        decoded_per_s=fmean(part.decoded_per_s for part in parts),
        compile_s=fmean(part.compile_s for part in parts),
        epoch_s=fmean(part.epoch_s for part in parts),
        memory_bytes=max(part.memory_bytes for part in parts),
    )
