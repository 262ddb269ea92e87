"""What one GPU can do, in at most ten minutes: python benchmarks/gpu.py

Keras on JAX with random weights and generated photos; no network. Each step runs in its own process and prints a line
of JSON for each result at once, the most important first, so an interrupted run is useful too. A step that fails prints
its error, and the next one runs. `--small` measures next to nothing, on a CPU.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# carcls, if it is not installed, instead of this folder, whose modules may have names of the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

Result = dict[str, Any]
MODELS = (("EfficientNetB0", 224), ("EfficientNetB3", 300), ("Xception", 299), ("ResNet50", 224))
PRECISIONS = ("mixed_bfloat16", "float32")
BATCH = 64
CLASSES = 10
LIMIT_S = 600.0


class Sizes:
    """How much is measured."""

    def __init__(self, small: bool) -> None:
        self.models = (("MobileNetV2", 32),) if small else MODELS
        self.precisions = ("float32",) if small else PRECISIONS
        self.batch = 8 if small else BATCH
        self.other_batches = (4,) if small else (32, 128, 256)
        self.steps = 2 if small else 20
        self.processes = (1,) if small else (4, 8, 16)
        self.policies = ("light",) if small else ("light", "strong")
        self.oom_batch = 64 if small else 1 << 16


def model_of(name: str, size_px: int, precision: str) -> Any:  # noqa: ANN401 (Keras is imported in a child only)
    import keras

    keras.config.set_dtype_policy(precision)
    narrow = {"alpha": 0.35} if name.startswith("MobileNet") else {}
    inputs = keras.Input((size_px, size_px, 3))
    trunk = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size_px, size_px, 3), pooling="avg", **narrow
    )
    outputs = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")(trunk(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.CategoricalCrossentropy(), jit_compile="auto")
    return model


def photos_of(count: int, size_px: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, size_px, size_px, 3)).astype(np.uint8)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, count)]


def resident(arrays: tuple[Any, Any]) -> tuple[Any, Any]:
    """The arrays on the device, so that no copy is measured."""
    import keras

    x, y = arrays
    return keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)


def epoch_of(batch: tuple[Any, Any], steps: int) -> Any:  # noqa: ANN401 (Keras is imported in a child only)
    """The same batch `steps` times, as `fit` reads it."""
    import keras

    class Epoch(keras.utils.PyDataset):
        def __len__(self) -> int:
            return steps

        def __getitem__(self, number: int) -> tuple[Any, Any]:
            return batch

    return Epoch()


def timed(model: Any, batch: tuple[Any, Any], steps: int) -> tuple[float, float]:  # noqa: ANN401 (as above)
    """(seconds of the first step, seconds of a later one)."""
    started = time.perf_counter()
    model.fit(epoch_of(batch, 1), shuffle=False, verbose=0)
    first = time.perf_counter() - started
    started = time.perf_counter()
    model.fit(epoch_of(batch, steps), shuffle=False, verbose=0)
    return first, (time.perf_counter() - started) / steps


def memory() -> Result:
    """What the framework and the driver say about the first GPU's memory, in MiB."""
    from carcls.system.cuda_driver import load_driver, visible_cards
    from carcls.system.nvidia_smi import gpu_rows

    found: Result = {"nvidia_smi_total_used": gpu_rows("memory.total,memory.used")}
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        found |= {name: stats[name] // 2**20 for name in ("bytes_limit", "peak_bytes_in_use") if name in stats}
    cards = visible_cards(load_driver())
    return found | {"cuda_total": [card.total_mib for card in cards or []]}


def versions(sizes: Sizes) -> Iterator[Result]:
    from importlib.metadata import version

    import keras

    from carcls.backend import devices
    from carcls.system.nvidia_smi import gpu_rows

    del sizes
    before = gpu_rows("memory.used")
    float(keras.ops.sum(keras.ops.ones(3)))
    yield {
        "device": devices.describe(),
        "versions": {name: version(name) for name in ("keras", os.environ["KERAS_BACKEND"], "numpy")},
        "driver": gpu_rows("name,driver_version,compute_cap,power.limit"),
        "cores": len(os.sched_getaffinity(0)),
        "used_before_and_after_start": [before, gpu_rows("memory.used")],
        **memory(),
    }


def rates(sizes: Sizes) -> Iterator[Result]:
    for precision in sizes.precisions:
        for name, size_px in sizes.models:
            model = model_of(name, size_px, precision)
            first, step = timed(model, resident(photos_of(sizes.batch, size_px)), sizes.steps)
            yield {
                "model": f"{name}@{size_px}",
                "precision": precision,
                "batch": sizes.batch,
                "compile_s": first - step,
                "images_per_s": sizes.batch / step,
            }
    yield memory()


def batches(sizes: Sizes) -> Iterator[Result]:
    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    for batch in sizes.other_batches:
        model = model_of(name, size_px, precision)
        first, step = timed(model, resident(photos_of(batch, size_px)), sizes.steps)
        yield {"model": f"{name}@{size_px}", "batch": batch, "compile_s": first - step, "images_per_s": batch / step}


def shapes(sizes: Sizes) -> Iterator[Result]:
    """Seconds until each of two sizes of batch has been trained once, against one size."""
    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    for label, counts in (("one", (sizes.batch,) * 2), ("two", (sizes.batch, sizes.batch - 1))):
        model = model_of(name, size_px, precision)
        started = time.perf_counter()
        for count in counts:
            float(model.train_on_batch(*photos_of(count, size_px)))
        yield {"shapes": label, "first_steps_s": time.perf_counter() - started}


def cache(sizes: Sizes) -> Iterator[Result]:
    """Seconds of the first step; run twice with one folder."""
    from carcls.backend.compile_cache import CompileCache

    CompileCache(Path(os.environ["GPU_BENCHMARK_CACHE"]), 10**10).use(os.environ)
    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    first, step = timed(model_of(name, size_px, precision), photos_of(sizes.batch, size_px), 1)
    yield {"first_step_s": first, "later_step_s": step}


def clock(sizes: Sizes) -> Iterator[Result]:
    """Images per second of `fit` with a clock that waits for each step, and with ours."""
    from carcls.training.steps.step_clock import StepClock

    class Waiting(StepClock):
        async_safe = False

    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    model = model_of(name, size_px, precision)
    batch = photos_of(sizes.batch, size_px)
    model.fit(epoch_of(batch, sizes.steps), shuffle=False, verbose=0)
    for _ in range(3):
        for kind in (Waiting, StepClock):
            started = time.perf_counter()
            model.fit(epoch_of(batch, sizes.steps), shuffle=False, verbose=0, callbacks=[kind()])
            seconds = time.perf_counter() - started
            yield {"waits_for_steps": kind is Waiting, "images_per_s": sizes.batch * sizes.steps / seconds}


def pipeline(sizes: Sizes) -> Iterator[Result]:
    """Batches per second of the input processes alone, and of a training that reads them, beside resident data."""
    import numpy as np

    from carcls.augment.mixing import Mixing
    from carcls.config import TrainConfig
    from carcls.input.epoch_plan import EpochPlan
    from carcls.input.feeder import Feeder
    from carcls.input.prefetch import EpochBatches

    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    model, count = model_of(name, size_px, precision), sizes.batch * sizes.steps
    x, y = photos_of(sizes.batch, size_px)
    _, step = timed(model, resident((x, y)), sizes.steps)
    yield {"data": "resident", "images_per_s": sizes.batch / step}
    stages = [{"name": "all", "unfreeze": 1.0, "epochs": 1, "learning_rate": 1e-4}]
    for policy in sizes.policies:
        for processes in [one for one in sizes.processes if one <= len(os.sched_getaffinity(0))] or [1]:
            values = {"backbone": name, "image_size": size_px, "batch_size": sizes.batch, "stages": stages}
            config = TrainConfig.model_validate(values | {"augment": {"policy": policy}, "weights": "none"})
            plan = EpochPlan(
                pixels=x,
                labels=y.argmax(axis=1),
                order=np.arange(count) % len(x),
                views=np.arange(count) // len(x),
                class_count=CLASSES,
                batch_size=sizes.batch,
                policy=policy,
                view_seed=0,
                mixing=Mixing(0.0, 0.0, seed=0, epoch=0),
            )
            with Feeder(config, cores=processes, batch_server=None) as feeder:
                for trains in (False, True):
                    fed = EpochBatches(feeder.plan(plan), threads=processes)
                    started = time.perf_counter()
                    if trains:
                        model.fit(fed, epochs=1, shuffle=False, verbose=0)
                    else:
                        for number in range(len(fed)):
                            fed[number]
                    seconds = time.perf_counter() - started
                    fed.close()
                    yield {
                        "data": "fed" if trains else "prepared alone",
                        "policy": policy,
                        "processes": processes,
                        "images_per_s": count / seconds,
                        "share_of_resident": count / seconds * step / sizes.batch,
                    }


def share(sizes: Sizes) -> Iterator[Result]:
    """One of several processes on one GPU. Its share is in the environment."""
    from carcls.backend import devices

    part = os.environ.get("GPU_BENCHMARK_SHARE")
    devices.configure(threads=None, deterministic=False, gpu_memory_share=float(part) if part else None)
    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    _, step = timed(model_of(name, size_px, precision), photos_of(sizes.batch, size_px), sizes.steps)
    yield {"share": part, "images_per_s": sizes.batch / step, **memory()}


def out_of_memory(sizes: Sizes) -> Iterator[Result]:
    """The error of a batch that cannot fit, and what carsearch takes it for."""
    from carcls.backend.memory_errors import is_ambiguous, is_out_of_memory

    (name, size_px), precision = sizes.models[0], sizes.precisions[0]
    try:
        timed(model_of(name, size_px, precision), photos_of(sizes.oom_batch, size_px), 1)
    except Exception as error:  # noqa: BLE001 - its class is what is asked
        text = str(error).strip().splitlines() or [""]
        yield {
            "class": [one.__name__ for one in type(error).__mro__],
            "text": text[0][:500],
            "is_out_of_memory": is_out_of_memory(error),
            "is_ambiguous": is_ambiguous(error),
        }
    else:
        yield {"batch": sizes.oom_batch, "fitted": True}


def overflow(sizes: Sizes) -> Iterator[Result]:
    """float16: a step that overflows halves the loss scale and changes no weight; later steps train."""
    import keras
    import numpy as np

    (name, size_px), batch = sizes.models[0], sizes.batch
    model = model_of(name, size_px, "mixed_float16")
    x, y = photos_of(batch, size_px)
    model.optimizer.build(model.trainable_variables)
    before = [np.array(keras.ops.convert_to_numpy(one.value)) for one in model.trainable_variables[:3]]
    scale = float(model.optimizer.dynamic_scale)
    model.train_on_batch(x, y * np.inf)
    halved = float(model.optimizer.dynamic_scale)
    after = [np.array(keras.ops.convert_to_numpy(one.value)) for one in model.trainable_variables[:3]]
    losses = [float(model.train_on_batch(x, y)) for _ in range(sizes.steps)]
    yield {
        "scale_before_and_after": [scale, halved],
        "weights_unchanged": all(np.array_equal(one, other) for one, other in zip(before, after, strict=True)),
        "later_losses_finite": bool(np.isfinite(losses).all()),
    }


STEPS = (versions, rates, batches, shapes, cache, clock, pipeline, share, out_of_memory, overflow)
"""Most important first; `cache` and `share` run in several processes."""


def children(name: str) -> list[list[dict[str, str]]]:
    """Groups of processes of a step, each by what it adds to the environment; the processes of a group run at once."""
    if name == "cache":
        return [[{}], [{}]]
    if name == "share":
        return [[{"GPU_BENCHMARK_SHARE": "0.5"}] * 2, [{"GPU_BENCHMARK_SHARE": "0.25"}] * 4]
    return [[{}]]


def run_step(name: str, extra: Sequence[str], environment: dict[str, str], until_s: float) -> Iterator[Result]:
    """Relays the results of a step's processes as they come."""
    groups = children(name)
    if "--small" in extra and name == "share":  # no GPU to share
        groups = [[{}] * 2]
    for group in groups:
        found: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        started = [_start(name, extra, environment | added, found) for added in group]
        try:
            for _ in started:
                while (result := found.get(timeout=max(1.0, until_s - time.monotonic()))) is not None:
                    yield {"step": name, **result}
        except queue.Empty:
            yield {"step": name, "error": "out of time"}
        finally:
            for process in started:
                process.kill()


def _start(
    name: str, extra: Sequence[str], environment: dict[str, str], found: "queue.SimpleQueue[Result | None]"
) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", name, *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    threading.Thread(target=_relay, args=(process, found), daemon=True).start()
    return process


def _relay(process: "subprocess.Popen[str]", found: "queue.SimpleQueue[Result | None]") -> None:
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    for line in process.stdout or ():
        if line.startswith("{"):
            found.put(json.loads(line))
    reader.join()
    if process.wait():
        found.put({"error": (errors or [f"exit status {process.returncode}"])[-1].strip()[:500]})
    found.put(None)


def main() -> int:
    """Runs the steps, or one of them if this is its process. Returns 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="next to nothing, on a CPU")
    parser.add_argument("--steps", default=",".join(step.__name__ for step in STEPS), help="comma-separated names")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if given.child:
        for result in next(step for step in STEPS if step.__name__ == given.child)(Sizes(given.small)):
            print(json.dumps(result), flush=True)
        return 0
    until_s, failed = time.monotonic() + LIMIT_S, False
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ) | {"GPU_BENCHMARK_CACHE": folder}
        for name in given.steps.split(","):
            started = time.monotonic()
            for result in run_step(name, ["--small"] * given.small, environment, until_s):
                failed |= "error" in result
                print(json.dumps(result), flush=True)
            print(json.dumps({"step": name, "took_s": round(time.monotonic() - started, 1)}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
