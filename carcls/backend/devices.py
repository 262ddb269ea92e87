"""What depends on the machine: precision, GPU memory, threads, determinism. The only room that may name TensorFlow.

TensorFlow is imported inside functions, and only where it is Keras's backend: with KERAS_BACKEND=jax it need not exist.
"""

import os
import platform
import re
import weakref
from collections.abc import Iterator, MutableMapping
from importlib.metadata import version
from typing import Any, cast

from carcls.backend.framework import keras
from carcls.config import Precision
from carcls.system.nvidia_smi import query_gpus

_RUNTIME_ERRORS = {"XlaRuntimeError", "JaxRuntimeError", "OpError", "InternalError"}
"""What JAX raises, and from what TensorFlow's errors descend, whatever their kind."""
_NO_ROOM = (
    "resource_exhausted",
    "out of memory",
    "oom when allocating",
    "failed to allocate",
    "_status_alloc_failed",  # cuDNN's and cuBLAS's: NotFoundError where every algorithm for a convolution failed so
    "dst tensor is not initialized",  # a copy to a GPU that is full
)
"""Words of theirs, in small letters, that mean it: most come as another kind of error than RESOURCE_EXHAUSTED."""
_USELESS_REWRITES = (
    "layout_optimizer",
    "constant_folding",
    "shape_optimization",
    "arithmetic_optimization",
    "dependency_optimization",
    "loop_optimization",
    "function_optimization",
    "common_subgraph_elimination",
    "scoped_allocator_optimization",
    "pin_to_host_optimization",
    "implementation_selector",
)
"""Of TensorFlow's rewriting of graphs only `remapping` pays on a CPU: a convolution, what is added to it and the
activation behind it become one operation, a sixth of a pass forward. The others take longer than they spare."""
_CONTEXT_MIB = 600
"""GPU memory that CUDA's context and libraries take in each process, outside the framework's allocator."""


def configure(
    *, threads: int | None, deterministic: bool, gpu_memory_share: float | None, gpu: int | None = None
) -> None:
    """Set this process up for one training. Call before the first Keras operation, once per process.

    `threads`: CPU threads for operations; None: the framework's own choice. On JAX only 1 has an effect.
    `deterministic`: the same operations give the same bits on the same machine; slower on GPUs.
    `gpu_memory_share`: this process's share, 0..1, of each visible GPU's total memory; None: no limit. Without a GPU it
    does nothing. `gpu`: number of the one visible GPU to use, counted from 0; None: all of them. Raises RuntimeError
    where the framework has started already with other settings.
    """
    if keras.backend.backend() == "jax":
        configure_jax(os.environ, threads, deterministic, gpu_memory_share, gpu)
    elif keras.backend.backend() == "tensorflow":
        _configure_tensorflow(threads, deterministic, gpu_memory_share, gpu)


def fed(batches: keras.utils.PyDataset) -> Any:  # noqa: ANN401 (what the framework reads best)
    """An epoch's batches, at least one, in the form in which `fit` is to be given them. Keep them until it returns.

    TensorFlow reads its own pipelines only. Keras makes one whose autotuner is joined when the epoch is over, but
    sleeps twice as long each time, up to a minute, before it hears of that: on a CPU an eighth to a quarter of the time
    of unfrozen epochs. Here nothing is to be tuned: the batches are prepared ahead already.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0])
    # TensorFlow keeps every generator that it was ever given, and all that hangs on it.
    count, held = len(batches), cast(keras.utils.PyDataset, weakref.proxy(batches))
    dataset = tf.data.Dataset.from_generator(
        lambda: (held[number] for number in range(count)), output_signature=signature
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(1).with_options(options)


def dtype_policy(precision: Precision) -> str:
    """Name of the Keras dtype policy; `auto` decides by the device that runs the operations."""
    if precision == "auto":
        return policy_for(_compute_capability())
    return {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}[precision]


def policy_for(capability: tuple[int, int] | None) -> str:
    """Fastest safe policy for a GPU of this CUDA compute capability; None stands for a CPU.

    bfloat16 needs no loss scaling but runs in hardware from 8.0 (Ampere) on; 7.x has tensor cores for float16 alone.
    """
    if capability is None or capability < (7, 0):
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def is_out_of_memory(error: BaseException) -> bool:
    """True where the device or the machine had no room, for the error itself or one that caused it."""
    return any(_says_out_of_memory(link) for link in _chain(error))


def describe() -> str:
    """One line for the record: framework and version, then the GPUs, or the CPU and its cores."""
    backend = keras.backend.backend()
    framework = f"{backend} {version(backend)}, keras {keras.__version__}"
    gpus = _gpu_names()
    if not gpus:
        return f"{framework} on CPU, {len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    return f"{framework} on {', '.join(gpus)}"


def memory_limit_mib(total_mib: int, share: float) -> int:
    """Room in MiB for the framework's allocator, so that the whole process stays within its share of a GPU.

    Raises ValueError for a share outside (0, 1], or one too small to hold anything.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"gpu_memory_share: {share} is outside (0, 1]")
    limit = int(total_mib * share) - _CONTEXT_MIB
    if limit <= 0:
        raise ValueError(f"gpu_memory_share: {share} of {total_mib} MiB leaves no room beside CUDA's {_CONTEXT_MIB}")
    return limit


def _configure_tensorflow(
    threads: int | None, deterministic: bool, gpu_memory_share: float | None, gpu: int | None
) -> None:
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    if threads is not None and threads != tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, 2))
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        tf.config.optimizer.set_experimental_options(dict.fromkeys(_USELESS_REWRITES, False) | {"remapping": True})
        return
    used = gpus if gpu is None else gpus[gpu : gpu + 1]
    if gpu is not None:
        tf.config.set_visible_devices(used, "GPU")
    if gpu_memory_share is None:
        return
    # Memory growth on the same device would cap nothing: a logical device with a limit does.
    totals_mib = dict(zip(gpus, _gpu_totals_mib(os.environ.get("CUDA_VISIBLE_DEVICES")), strict=True))
    for one in used:
        limit = memory_limit_mib(totals_mib[one], gpu_memory_share)
        tf.config.set_logical_device_configuration(one, [tf.config.LogicalDeviceConfiguration(memory_limit=limit)])


def configure_jax(
    environment: MutableMapping[str, str],
    threads: int | None,
    deterministic: bool,
    gpu_memory_share: float | None,
    gpu: int | None = None,
) -> None:
    """JAX reads these once, when its first operation starts the device."""
    if gpu is not None:
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        names = [str(gpu)] if visible is None else visible.split(",")[gpu : gpu + 1]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(name.strip() for name in names)
    flags = environment.get("XLA_FLAGS", "").split()
    if threads == 1:
        flags += ["--xla_cpu_multi_thread_eigen=false"]
    if deterministic:
        flags += ["--xla_gpu_deterministic_ops=true"]
    if flags:
        environment["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))
    if gpu_memory_share is not None:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{gpu_memory_share:.3f}"


def _gpu_totals_mib(visible: str | None) -> list[int]:
    """Total memory of each visible GPU. TensorFlow tells it only after first use, when limits can no longer be set."""
    # By id, because the program lists every GPU of the machine and the framework only the visible ones.
    ids: list[str | None] = [*visible.split(",")] if visible else [None]
    try:
        return [int(row.split()[0]) for gpu in ids for row in query_gpus("memory.total", gpu=gpu)]
    except FileNotFoundError as error:
        raise RuntimeError(f"gpu_memory_share: {error}, so a GPU's total memory is unknown") from error


def _compute_capability() -> tuple[int, int] | None:
    """Of the first GPU; None without one."""
    if keras.backend.backend() == "jax":
        found = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(next(iter(_jax_gpus()), None), "compute_capability", "")))
        return (int(found[1]), int(found[2])) if found else None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

        for gpu in tf.config.get_visible_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("compute_capability")
    return None


def _gpu_names() -> list[str]:
    if keras.backend.backend() == "jax":
        return [gpu.device_kind for gpu in _jax_gpus()]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

        gpus = tf.config.get_visible_devices("GPU")
        return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return []


def _jax_gpus() -> list[Any]:
    import jax  # noqa: PLC0415 (only where it is the backend)

    return [device for device in jax.local_devices() if device.platform == "gpu"]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _says_out_of_memory(error: BaseException) -> bool:
    """By name and text: the classes are TensorFlow's and JAX's, and neither must be imported to be recognised."""
    text = str(error)
    if isinstance(error, MemoryError):
        return True
    if "No space left on device" in text:  # a full disk is RESOURCE_EXHAUSTED too, and a smaller batch does not help
        return False
    names = {cls.__name__ for cls in type(error).__mro__}
    if "ResourceExhaustedError" in names:
        return True
    return bool(names & _RUNTIME_ERRORS) and any(words in text.lower() for words in _NO_ROOM)
