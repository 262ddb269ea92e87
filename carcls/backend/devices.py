"""Everything that depends on the machine: precision, GPU memory, threads, determinism.

TensorFlow is imported only here, inside functions, and only if it is Keras's backend: with KERAS_BACKEND=jax it need
not be installed.
"""

import os
import platform
import re
import weakref
from collections.abc import MutableMapping
from importlib.metadata import version
from typing import Any, cast

from carcls.backend import gpu_memory
from carcls.backend.compile_cache import CompileCache
from carcls.backend.framework import keras
from carcls.backend.gpu_access import VISIBLE, GpuGrant, check_seen, reveal_only
from carcls.backend.memory_errors import is_out_of_memory
from carcls.backend.replicas import use_replicas
from carcls.config import Precision
from carcls.system.nvidia_smi import gpu_rows, installed_gpus

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
_JAX_FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
"""JAX's variable, and its deprecated name."""
_JAX_DEFAULT_FRACTION = 0.75
"""JAX's own, for a GPU whose memory is unknown."""


def configure(
    *,
    threads: int | None,
    deterministic: bool,
    gpu_memory_share: float | None,
    gpu: int | None = None,
    compiled: CompileCache | None = None,
) -> None:
    """Set this process up for one training run. Call before the first Keras operation, once per process.

    `threads`: CPU threads for operations, or None for the framework's choice. On JAX only 1 has an effect.
    `deterministic`: the same operations give the same bits on the same machine; slower on GPUs.
    `gpu_memory_share`: the GPUs that this process was granted: a share, 0..1, of one GPU's memory, or a number of whole
    GPUs; None hides them all. `gpu`: number of the first one among the visible ones, or None if exactly the granted
    ones are visible. `compiled`: where compiled programs are kept for later processes, or None.

    Raises DeviceError if a granted GPU cannot be used, RuntimeError if the framework has already started with other
    settings.
    """
    grant = GpuGrant.of(gpu_memory_share, gpu)
    if grant is not None or _visible_gpus():
        reveal_only(os.environ, grant)
    if compiled is not None:
        compiled.use(os.environ)
    if keras.backend.backend() == "jax":
        configure_jax(os.environ, threads, deterministic, grant)
        if grant is not None:
            _check_jax(grant)
    elif keras.backend.backend() == "tensorflow":
        _configure_tensorflow(threads, deterministic, grant)
    if grant is not None:
        use_replicas(grant.count)


def configure_for_prediction() -> None:
    """Set this process up to predict on the first visible GPU, of which it takes only the memory that it needs."""
    if not _visible_gpus():
        return
    reveal_only(os.environ, GpuGrant(1, 1.0, 0))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def fit_input(batches: keras.utils.PyDataset) -> Any:  # noqa: ANN401 (what the framework reads best)
    """An epoch's batches, at least one, as `Model.fit` reads them fastest. Keep `batches` alive until `fit` returns.

    All must have the same shape, and may be nested tuples of arrays.

    On TensorFlow, Keras would wrap them in a tf.data pipeline with autotuning. At the end of each epoch it joins the
    autotuner's thread, whose sleeps double up to a minute: an eighth to a quarter of an unfrozen epoch on a CPU. The
    batches are prefetched already, so our pipeline has nothing to tune and turns autotuning off.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    # Its batches all have one size (`carcls.training.steps.constant_batches`), so XLA compiles a step once.
    signature = keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), batches[0])
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


def describe() -> str:
    """One line for logs: framework and version, then the GPUs or the CPU and its cores."""
    backend = keras.backend.backend()
    framework = f"{backend} {version(backend)}, keras {keras.__version__}"
    gpus = _gpu_names()
    if not gpus:
        return f"{framework} on CPU, {len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    return f"{framework} on {', '.join(gpus)}"


def _configure_tensorflow(threads: int | None, deterministic: bool, grant: GpuGrant | None) -> None:
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    if threads is not None and threads != tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, 2))
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if grant is None:
        if gpus:  # CUDA had started before the variable was set
            tf.config.set_visible_devices([], "GPU")
        tf.config.optimizer.set_experimental_options(dict.fromkeys(_DISABLED_REWRITES, False) | {"remapping": True})
        return
    check_seen(grant, len(gpus), os.environ, backend="tensorflow")
    used = gpus[: grant.count]
    tf.config.set_visible_devices(used, "GPU")
    # Memory growth does not cap anything; a logical device with a limit does.
    cards = gpu_memory.cards_seen(os.environ.get(VISIBLE))
    for one, limit in zip(used, gpu_memory.limits_mib(cards, grant.count, grant.share), strict=True):
        if limit is not None:
            tf.config.set_logical_device_configuration(one, [tf.config.LogicalDeviceConfiguration(memory_limit=limit)])


def configure_jax(
    environment: MutableMapping[str, str], threads: int | None, deterministic: bool, grant: GpuGrant | None
) -> None:
    """Sets the variables that JAX reads once, when its first operation initialises the device."""
    flags = environment.get("XLA_FLAGS", "").split()
    if threads == 1:
        flags += ["--xla_cpu_multi_thread_eigen=false"]
    if deterministic:
        flags += ["--xla_gpu_deterministic_ops=true"]
    if flags:
        environment["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))
    if grant is not None:
        # JAX refuses to start with both names, so the user's is replaced, unless it asks for less.
        own = [environment.pop(name, "") for name in _JAX_FRACTIONS]
        cards = [card for card in gpu_memory.cards_seen(environment.get(VISIBLE)) if card is not None]
        fractions = [gpu_memory.memory_fraction(card, grant.share) for card in cards[: grant.count]]
        ours = min(fractions, default=_JAX_DEFAULT_FRACTION * grant.share)
        environment[_JAX_FRACTIONS[0]] = f"{min([ours, *(float(one) for one in own if one)]):.3f}"


def _check_jax(grant: GpuGrant) -> None:
    """Raises DeviceError if JAX sees too few GPUs. Lack of memory, which a smaller share may cure, raises as it is."""
    import jax  # noqa: PLC0415 (only where it is the backend)

    try:
        seen, why = len(jax.local_devices(backend="gpu")), ""
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        seen, why = 0, str(error).strip().splitlines()[0]
    check_seen(grant, seen, os.environ, backend="jax", why=why)


def _visible_gpus() -> bool:
    """Whether this process may use a GPU."""
    return os.environ.get(VISIBLE) not in ("", "-1") and bool(installed_gpus() or gpu_rows("name"))


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
