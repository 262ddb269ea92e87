"""Which GPUs a process sees, and what it says if a granted one is missing."""

import pytest

from carcls.backend.gpu_access import GpuGrant, check_seen, only_first_gpus, reveal_only
from carcls.errors import DeviceError


@pytest.mark.parametrize(
    ("before", "gpus", "first", "after"),
    [
        (None, 1.0, 1, "1"),
        (None, 2.0, 2, "2,3"),
        ("2,3", 0.5, 1, "3"),
        ("GPU-a, GPU-b", 1.0, 0, "GPU-a"),
        ("MIG-a,MIG-b,MIG-c", 2.0, 1, "MIG-b,MIG-c"),
        ("5", 1.0, None, "5"),  # as Ray does it
        ("0", 1.0, 4, ""),
        ("0,1", None, None, ""),
    ],
)
def test_only_the_granted_gpus_are_visible(before, gpus, first, after):
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    reveal_only(environment, GpuGrant.of(gpus, first))
    assert environment == {"CUDA_VISIBLE_DEVICES": after, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_a_users_own_order_is_kept():
    environment = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    reveal_only(environment, GpuGrant.of(1.0, 0))
    assert environment == {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}


def test_a_share_of_several_gpus_is_refused():
    with pytest.raises(ValueError, match=r"2\.5 is neither a share of one GPU nor a number of whole GPUs"):
        GpuGrant.of(2.5, None)
    assert GpuGrant.of(0.25, None) == GpuGrant(1, 0.25, None)
    assert GpuGrant.of(4.0, None) == GpuGrant(4, 1.0, None)


@pytest.mark.parametrize(
    ("before", "count", "within"),
    [({}, 2, "0,1"), ({"CUDA_VISIBLE_DEVICES": "3,5,6"}, 2, "3,5"), ({"CUDA_VISIBLE_DEVICES": "3"}, 0, "")],
)
def test_processes_of_a_final_training_see_only_its_gpus(before, count, within):
    environment = dict(before)
    with only_first_gpus(environment, count):
        assert environment["CUDA_VISIBLE_DEVICES"] == within
        assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment == before


def test_a_missing_gpu_is_an_error_that_names_driver_libraries_and_fix(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "535.129.03"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    environment = {"CUDA_VISIBLE_DEVICES": "3"}
    with pytest.raises(DeviceError) as raised:
        check_seen(GpuGrant(1, 0.5), 0, environment, backend="tensorflow", why="cuInit: 999")
    text = str(raised.value)
    assert text.startswith("a GPU was granted (CUDA_VISIBLE_DEVICES=3) but tensorflow 2.")
    assert "sees none (cuInit: 999); NVIDIA driver 535.129.03; " in text
    assert "CUDA" in text
    assert "pip install 'carsearch[gpu]'" in text
    assert "gpus_per_trial: 0" in text
    with pytest.raises(DeviceError, match=r"2 GPUs were granted .* sees 1; "):
        check_seen(GpuGrant(2, 1.0), 1, environment, backend="tensorflow")
    check_seen(GpuGrant(2, 1.0), 2, environment, backend="tensorflow")
