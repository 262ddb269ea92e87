"""One measurement in its own process, set up as a trial's is."""

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from carcls.backend import devices
from carcls.backend.peak_memory import peak_gpu_bytes
from carcls.config import TrainConfig
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.speed import measure_input
from carcls.training.speed import measure_steps
from search.bench.task import FeedTask, Gate, StepTask
from search.worker.child import outcome_of, run_in_child
from search.worker.machine_memory import limit_own_memory, peak_memory_bytes
from search.worker.outbox import Outbox
from search.worker.segment import Result, Segment

_CLASSES = 10
_INPUT_S = 1.0
_INPUT_PHOTOS = 192
_GATE_S = 120.0
"""How long a training waits for those that are measured with it."""


def run_measurement(
    task: StepTask | FeedTask, gate: Gate | None, segment: Segment, messages: Connection, lifeline: Connection
) -> None:
    """Measures in this process and sends one result."""
    run_in_child(
        partial(_measure, task, gate, segment),
        messages,
        lifeline,
        threads=segment.threads,
        output=Path(task.output),
        outcome_of=outcome_of,
    )


def _measure(
    task: StepTask | FeedTask,
    gate: Gate | None,
    segment: Segment,
    outbox: Outbox,
    batch_server: BatchWorkerServer | None,
) -> None:
    config = TrainConfig.model_validate(segment.config)
    if isinstance(task, FeedTask):
        found = _input(config, segment.threads, batch_server)
    else:
        if task.memory_bytes is not None:
            limit_own_memory(task.memory_bytes)
        found = _steps(config, task, gate, segment)
    outbox.send(Result(json.dumps(found)))


def _input(config: TrainConfig, processes: int, batch_server: BatchWorkerServer | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="carsearch-bench-") as folder:
        speed = measure_input(
            config,
            Path(folder),
            photos=_INPUT_PHOTOS,
            seconds=_INPUT_S,
            processes=processes,
            batch_server=batch_server,
        )
    return {"images_per_s": speed.views_per_s, "decoded_per_s": speed.decoded_per_s}


def _steps(config: TrainConfig, task: StepTask, gate: Gate | None, segment: Segment) -> dict[str, Any]:
    # Nothing compiled is kept: the times are those of a first trial.
    devices.configure(threads=segment.threads, deterministic=False, gpu_memory_share=segment.gpu_share, gpu=segment.gpu)
    speed = measure_steps(config, classes=_CLASSES, steps=task.steps, ready=_passes(gate))
    found = asdict(speed)
    return {
        "images_per_s": found["images_per_s"],
        "forward_images_per_s": found["forward_images_per_s"],
        "compile_s": found["build_s"] + found["compile_s"],
        "epoch_s": found["epoch_s"],
        "memory_bytes": peak_gpu_bytes() or peak_memory_bytes() or 0,
    }


def _passes(gate: Gate | None) -> Callable[[], None]:
    """Waits until all trainings that are measured together have compiled, or one of them is gone."""

    def wait() -> None:
        if gate is not None:
            with contextlib.suppress(threading.BrokenBarrierError):
                gate.wait(_GATE_S)

    return wait
