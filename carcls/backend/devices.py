"""Everything that depends on the machine: precision, GPU memory, threads, determinism.

TensorFlow is imported only here, inside functions, and only if it is Keras's backend: with KERAS_BACKEND=jax it need
not be installed.
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
"""Names of JAX's error classes and of the base classes of TensorFlow's."""
_OUT_OF_MEMORY_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "oom when allocating",
    "failed to allocate",
    "_status_alloc_failed",  # cuDNN and cuBLAS; a NotFoundError if every convolution algorithm failed this way
    "dst tensor is not initialized",  # a copy to a full GPU
)
"""Lower-case parts of messages that mean out of memory. Most do not come as RESOURCE_EXHAUSTED."""
_DISABLED_REWRITES = (
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
"""Grappler passes that cost more time on a CPU than they save. Only `remapping` pays off there: it fuses a convolution,
its bias and its activation into one operation, which saves a sixth of a forward pass."""
_CONTEXT_MIB = 600
"""GPU memory per process for CUDA's context and libraries, outside the framework's allocator."""


def configure(
    *, threads: int | None, deterministic: bool, gpu_memory_share: float | None, gpu: int | None = None
) -> None:
    """Set this process up for one training. Call before the first Keras operation, once per process.

    `threads`: CPU threads for operations, or None for the framework's choice. On JAX only 1 has an effect.
    `deterministic`: the same operations give the same bits on the same machine; slower on GPUs.
    `gpu_memory_share`: this process's share, 0..1, of each visible GPU's total memory, or None for no limit; ignored
    without a GPU. `gpu`: index of the one visible GPU to use, or None for all. Raises RuntimeError if the framework has
    already started with other settings.
    """
    if keras.backend.backend() == "jax":
        configure_jax(os.environ, threads, deterministic, gpu_memory_share, gpu)
    elif keras.backend.backend() == "tensorflow":
        _configure_tensorflow(threads, deterministic, gpu_memory_share, gpu)


def fit_input(batches: keras.utils.PyDataset) -> Any:  # noqa: ANN401 (what the framework reads best)
    """An epoch's batches, at least one, as `Model.fit` reads them fastest. Keep `batches` alive until `fit` returns.

    On TensorFlow, Keras would wrap them in a tf.data pipeline with autotuning. At the end of each epoch it joins the
    autotuner's thread, whose sleeps double up to a minute: an eighth to a quarter of an unfrozen epoch on a CPU. The
    batches are prefetched already, so our pipeline has nothing to tune and turns autotuning off.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0])
    # TensorFlow never releases a generator or anything that it refers to, so the generator holds a weak reference.
    count, held = len(batches), cast(keras.utils.PyDataset, weakref.proxy(batches))
    dataset = tf.data.Dataset.from_generator(
        lambda: (held[number] for number in range(count)), output_signature=signature
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(1).with_options(options)


def dtype_policy(precision: Precision) -> str:
    """Name of the Keras dtype policy. `auto` chooses by the device that runs the operations."""
    if precision == "auto":
        return policy_for(_compute_capability())
    return {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}[precision]


def policy_for(capability: tuple[int, int] | None) -> str:
    """Fastest safe policy for a GPU of this CUDA compute capability, or for a CPU if None.

    bfloat16 needs no loss scaling, but only 8.0 (Ampere) and later run it in hardware; 7.x has float16 tensor cores.
    """
    if capability is None or capability < (7, 0):
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error or one of its causes means that the device or the machine ran out of memory."""
    return any(_says_out_of_memory(link) for link in _chain(error))


def describe() -> str:
    """One line for logs: framework and version, then the GPUs or the CPU and its cores."""
    backend = keras.backend.backend()
    framework = f"{backend} {version(backend)}, keras {keras.__version__}"
    gpus = _gpu_names()
    if not gpus:
        return f"{framework} on CPU, {len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    return f"{framework} on {', '.join(gpus)}"


def memory_limit_mib(total_mib: int, share: float) -> int:
    """Limit in MiB for the framework's allocator that keeps the whole process within its share of a GPU.

    Raises ValueError for a share outside (0, 1] or one that is too small.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"gpu_memory_share: {share} is outside (0, 1]")
    limit = int(total_mib * share) - _CONTEXT_MIB
    if limit <= 0:
        raise ValueError(
            f"gpu_memory_share: {share} of {total_mib} MiB leaves nothing after the {_CONTEXT_MIB} MiB that CUDA needs"
        )
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
        tf.config.optimizer.set_experimental_options(dict.fromkeys(_DISABLED_REWRITES, False) | {"remapping": True})
        return
    used = gpus if gpu is None else gpus[gpu : gpu + 1]
    if gpu is not None:
        tf.config.set_visible_devices(used, "GPU")
    if gpu_memory_share is None:
        return
    # Memory growth does not cap anything; a logical device with a limit does.
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
    """Sets the variables that JAX reads once, when its first operation initialises the device."""
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
    """Compute capability of the first GPU, or None without a GPU."""
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
    """The error, its cause, the cause's cause, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _says_out_of_memory(error: BaseException) -> bool:
    """Decides by class name and text, so that neither TensorFlow nor JAX has to be imported."""
    text = str(error)
    if isinstance(error, MemoryError):
        return True
    if "No space left on device" in text:  # a full disk is RESOURCE_EXHAUSTED too, and a smaller batch does not help
        return False
    names = {cls.__name__ for cls in type(error).__mro__}
    if "ResourceExhaustedError" in names:
        return True
    return bool(names & _RUNTIME_ERRORS) and any(words in text.lower() for words in _OUT_OF_MEMORY_TEXTS)
