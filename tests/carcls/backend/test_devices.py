"""Settings that depend on the machine: decisions as pure functions, effects in separate processes."""

import json
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from carcls.backend import devices


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        (None, "float32"),
        ((6, 1), "float32"),
        ((7, 0), "mixed_float16"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((9, 0), "mixed_bfloat16"),
        ((12, 0), "mixed_bfloat16"),
    ],
)
def test_precision_by_compute_capability(capability, policy):
    assert devices.policy_for(capability) == policy


def test_a_named_precision_needs_no_device():
    assert [devices.dtype_policy(name) for name in ("float32", "bfloat16", "float16")] == [
        "float32",
        "mixed_bfloat16",
        "mixed_float16",
    ]


def test_memory_shares_leave_room_for_cuda_in_every_process():
    assert devices.memory_limit_mib(80_000, 1.0) == 79_400
    assert devices.memory_limit_mib(80_000, 0.25) == 19_400
    assert sum(devices.memory_limit_mib(16_000, 0.25) + 600 for _ in range(4)) <= 16_000


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="outside"):
        devices.memory_limit_mib(80_000, share)


def test_a_share_too_small_for_cuda_is_refused():
    with pytest.raises(ValueError, match="leaves nothing after"):
        devices.memory_limit_mib(8_000, 0.05)


class ResourceExhaustedError(Exception):
    """Has the name of TensorFlow's error."""


class XlaRuntimeError(RuntimeError):
    """Has the name of JAX's error."""


class JaxRuntimeError(RuntimeError):
    """Has the name of JAX's newer error."""


class OpError(Exception):
    """Has the name of TensorFlow's error."""


class NotFoundError(OpError):
    """Has the name of TensorFlow's error."""


class InternalError(Exception):
    """Has the name of TensorFlow's error."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (ResourceExhaustedError("OOM when allocating tensor with shape[64,512,512,3]"), True),
        (ResourceExhaustedError("/data/x.npz; No space left on device"), False),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."), True),
        (XlaRuntimeError("INVALID_ARGUMENT: shapes do not match"), False),
        (InternalError("CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: Failed to allocate request for 2.99GiB (3206250496B) on device 0"), True),
        (XlaRuntimeError("INTERNAL: Failed to allocate 1048576 bytes for new constant"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 68719476736 bytes."), True),
        (InternalError("Failed copying input tensor from CPU:0 to GPU:0: Dst tensor is not initialized."), True),
        (
            NotFoundError("No algorithm worked!  Error messages: eng11{}: UNKNOWN: CUDNN_STATUS_ALLOC_FAILED"),
            True,
        ),
        (NotFoundError("/data/x.npz; No such file or directory"), False),
        (InternalError("Blas xGEMM launch failed"), False),
        (ValueError("out of memory cards for this game"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_out_of_memory_is_recognised(error, expected):
    assert devices.is_out_of_memory(error) is expected


def test_out_of_memory_is_recognised_as_a_cause():
    def fail() -> None:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise RuntimeError("the step failed") from cause

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert devices.is_out_of_memory(raised.value)


def test_tensorflows_own_error_is_recognised():
    import tensorflow as tf

    assert devices.is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert not devices.is_out_of_memory(tf.errors.InvalidArgumentError(None, None, "bad shape"))


def in_a_process_of_its_own(program: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_configure_on_tensorflow():
    found = in_a_process_of_its_own(
        """
        import json
        from carcls.backend import devices
        devices.configure(threads=1, deterministic=True, gpu_memory_share=0.5)
        devices.configure(threads=1, deterministic=True, gpu_memory_share=0.5)  # again with the same: fine
        import keras, tensorflow as tf
        from tensorflow.python.framework.config import is_op_determinism_enabled  # not exported
        keras.ops.ones(3) + 1
        try:
            devices.configure(threads=2, deterministic=True, gpu_memory_share=None)
            late = "accepted"
        except RuntimeError as error:
            late = str(error)
        print(json.dumps({
            "intra": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter": tf.config.threading.get_inter_op_parallelism_threads(),
            "deterministic": is_op_determinism_enabled(),
            "late": late, "policy": devices.dtype_policy("auto"),
            "line": devices.describe(),
        }))
        """,
        CUDA_VISIBLE_DEVICES="",
        KERAS_BACKEND="tensorflow",
    )
    assert (found["intra"], found["inter"], found["deterministic"]) == (1, 1, True)
    assert "cannot be modified after initialization" in found["late"]
    assert found["policy"] == "float32"
    assert found["line"].startswith("tensorflow 2.")
    assert "CPU" in found["line"]


def test_configure_on_jax_sets_what_xla_reads_at_its_start():
    environment = {"XLA_FLAGS": "--xla_dump_to=d"}
    for _ in range(2):
        devices.configure_jax(environment, threads=1, deterministic=True, gpu_memory_share=0.25)
    assert environment == {
        "XLA_FLAGS": "--xla_dump_to=d --xla_cpu_multi_thread_eigen=false --xla_gpu_deterministic_ops=true",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.250",
    }
    untouched: dict[str, str] = {}
    devices.configure_jax(untouched, threads=None, deterministic=False, gpu_memory_share=None)
    assert untouched == {}


@pytest.mark.parametrize(
    ("before", "gpu", "after"), [(None, 1, "1"), ("2,3", 1, "3"), ("GPU-a, GPU-b", 0, "GPU-a"), ("0", 4, "")]
)
def test_jax_sees_the_one_gpu_that_it_is_given(before, gpu, after):
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    devices.configure_jax(environment, threads=None, deterministic=False, gpu_memory_share=None, gpu=gpu)
    assert environment == {"CUDA_VISIBLE_DEVICES": after}


def test_tensorflow_uses_the_one_gpu_that_it_is_given(monkeypatch):
    """Two simulated GPUs."""
    import tensorflow as tf

    used, limits = [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: used.append((gpus, kind)))
    monkeypatch.setattr(
        tf.config,
        "set_logical_device_configuration",
        lambda gpu, parts: limits.append((gpu, [part.memory_limit for part in parts])),
    )
    monkeypatch.setattr(devices, "_gpu_totals_mib", lambda visible: [16_000, 80_000])
    devices.configure(threads=None, deterministic=False, gpu_memory_share=1.0, gpu=1)
    assert used == [(["second"], "GPU")]
    assert limits == [("second", [79_400])]


@pytest.mark.skipif(find_spec("jaxlib") is None, reason="JAX is not installed here")
def test_devices_on_jax_need_no_tensorflow():
    found = in_a_process_of_its_own(
        """
        import json, sys
        from carcls.backend import devices
        devices.configure(threads=1, deterministic=True, gpu_memory_share=None)
        import keras
        keras.ops.ones(3) + 1
        print(json.dumps({"policy": devices.dtype_policy("auto"), "line": devices.describe()}))
        """,
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
    )
    assert found["policy"] == "float32"
    assert found["line"].startswith("jax ")
