"""Settings that depend on the machine: decisions as pure functions, effects in separate processes."""

import json
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from carcls.backend import devices, gpu_memory
from carcls.backend.gpu_access import GpuGrant
from carcls.errors import DeviceError
from carcls.system.cuda_driver import Card


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
        devices.configure(threads=1, deterministic=True, gpu_memory_share=None)
        devices.configure(threads=1, deterministic=True, gpu_memory_share=None)  # again with the same: fine
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


HALF = GpuGrant(1, 0.5)


def test_configure_on_jax_sets_what_xla_reads_at_its_start(monkeypatch):
    monkeypatch.setattr(gpu_memory, "cards_seen", lambda visible: [Card(80_000, (8, 0))])
    environment = {"XLA_FLAGS": "--xla_dump_to=d"}
    for _ in range(2):
        devices.configure_jax(environment, 1, deterministic=True, grant=HALF)
    assert environment == {
        "XLA_FLAGS": "--xla_dump_to=d --xla_cpu_multi_thread_eigen=false --xla_gpu_deterministic_ops=true",
        "XLA_CLIENT_MEM_FRACTION": "0.480",
    }
    untouched: dict[str, str] = {}
    devices.configure_jax(untouched, None, deterministic=False, grant=None)
    assert untouched == {}


@pytest.mark.parametrize(
    ("own", "fraction"),
    [
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9"}, "0.480"),  # jaxlib raises if both names are set
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.2"}, "0.200"),
        ({"XLA_CLIENT_MEM_FRACTION": "0.3", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4"}, "0.300"),
    ],
)
def test_a_users_own_fraction_on_jax_only_lowers_the_share(monkeypatch, own, fraction):
    monkeypatch.setattr(gpu_memory, "cards_seen", lambda visible: [Card(80_000, (8, 0))])
    devices.configure_jax(own, None, deterministic=False, grant=HALF)
    assert own == {"XLA_CLIENT_MEM_FRACTION": fraction}


def test_on_jax_a_gpu_of_unknown_memory_gets_its_share_of_jaxs_own_fraction(monkeypatch):
    monkeypatch.setattr(gpu_memory, "cards_seen", lambda visible: [None])
    environment: dict[str, str] = {}
    devices.configure_jax(environment, None, deterministic=False, grant=HALF)
    assert environment == {"XLA_CLIENT_MEM_FRACTION": "0.375"}


@pytest.fixture
def two_gpus(monkeypatch):
    """TensorFlow with two simulated GPUs; a dict of what it was told."""
    import tensorflow as tf

    told: dict = {"limits": []}
    # A process keeps these for all later tests, whose numbers would change.
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", lambda options: None)
    monkeypatch.setattr(devices, "use_replicas", lambda count: told.update(replicas=count))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: told.update({kind: gpus}))
    monkeypatch.setattr(
        tf.config,
        "set_logical_device_configuration",
        lambda gpu, parts: told["limits"].append((gpu, [part.memory_limit for part in parts])),
    )
    monkeypatch.setattr(gpu_memory, "cards_seen", lambda visible: [Card(16_000, (7, 5)), Card(80_000, (9, 0))])
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "4,7" if "VISIBLE" in name else "PCI_BUS_ID")
    return told


@pytest.mark.parametrize(
    ("gpus", "first", "visible", "told"),
    [
        (0.5, None, "4,7", {"GPU": ["first"], "limits": [("first", [6_950])], "replicas": 1}),
        (1.0, 1, "7", {"GPU": ["first"], "limits": [("first", [14_950])], "replicas": 1}),
        (
            2.0,
            None,
            "4,7",
            {"GPU": ["first", "second"], "limits": [("first", [14_950]), ("second", [78_200])], "replicas": 2},
        ),
    ],
)
def test_tensorflow_is_limited_to_its_share_of_the_gpus_it_was_given(two_gpus, gpus, first, visible, told):
    devices.configure(threads=None, deterministic=False, gpu_memory_share=gpus, gpu=first)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert two_gpus == told


def test_a_process_without_a_gpu_sees_none(two_gpus, monkeypatch):
    monkeypatch.setattr(devices, "installed_gpus", lambda: 2)
    devices.configure(threads=None, deterministic=False, gpu_memory_share=None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert two_gpus == {"GPU": [], "limits": []}


def test_tensorflow_does_not_train_on_the_cpu_in_silence(two_gpus, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(DeviceError, match=r"a GPU was granted .* but tensorflow 2\..* sees none; NVIDIA driver"):
        devices.configure(threads=None, deterministic=False, gpu_memory_share=0.5)


def test_prediction_takes_one_gpu_and_only_the_memory_it_needs(monkeypatch):
    environment = {"CUDA_VISIBLE_DEVICES": "4,7"}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(devices, "installed_gpus", lambda: 2)
    devices.configure_for_prediction()
    assert environment == {
        "CUDA_VISIBLE_DEVICES": "4",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    monkeypatch.setattr(devices, "installed_gpus", lambda: 0)
    monkeypatch.setattr(devices, "gpu_rows", lambda fields: [])
    untouched: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", untouched)
    devices.configure_for_prediction()
    assert untouched == {}


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
