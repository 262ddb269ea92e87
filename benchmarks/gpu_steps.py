"""What `benchmarks.gpu` measures, each step in a process of its own. Keras is imported there and not with this file."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Result = dict[str, Any]
MODELS = (("EfficientNetB0", 224), ("EfficientNetB3", 300), ("Xception", 299), ("ResNet50", 224))
PRECISIONS = ("mixed_bfloat16", "float32")
BATCH = 64
CLASSES = 10


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
