"""Figures of GPUs, by a fake of NVML's Python package."""

import sys
import threading

import pytest

from carcls.system.nvml import GpuMeter, GpuUse, load_nvml
from tests.helpers.fake_nvml import FakeGpu, FakeNvml

FIRST = FakeGpu("GPU-aaaa")
SECOND = FakeGpu(
    "GPU-bbbb", name="Tesla T4", total_mib=15360, used_mib=(10,), busy=(0,), milliwatts=(27_000,), celsius=(30,)
)


def test_figures_are_means_and_peaks_since_the_last_call():
    gpu = FakeGpu(
        "GPU-cccc",
        busy=(90, 100, 20),
        used_mib=(5000, 9000, 7000),
        milliwatts=(200_000, 300_000, 100_000),
        celsius=(50, 71, 60),
    )
    meter = GpuMeter(FakeNvml([FIRST, gpu]), ["1"])
    for _ in range(2):
        meter.sample()
    assert meter.take() == (GpuUse("1", "NVIDIA A100-SXM4-40GB", 0.95, 9000, 40960, 250.0, 71),)
    assert meter.take() == (GpuUse("1", "NVIDIA A100-SXM4-40GB", 0.2, 7000, 40960, 100.0, 60),), "sampled just now"


def test_gpus_are_found_by_number_and_by_uuid_and_others_are_left_out():
    meter = GpuMeter(FakeNvml([FIRST, SECOND]), ["GPU-bbbb", "0", "7", "MIG-dddd", ""])
    assert [(use.gpu, use.name, use.memory_mib) for use in meter.take()] == [
        ("GPU-bbbb", "Tesla T4", 10),
        ("0", "NVIDIA A100-SXM4-40GB", 1024),
    ]


def test_what_a_gpu_does_not_tell_is_none():
    slice_ = FakeGpu("MIG-dddd", busy=(), milliwatts=(), celsius=())
    (use,) = GpuMeter(FakeNvml([slice_]), ["MIG-dddd"]).take()
    assert (use.busy, use.power_w, use.temperature_c, use.memory_mib) == (None, None, None, 1024)


def test_a_thread_samples_within_the_block_and_ends_with_it():
    gpu = FakeGpu("GPU-eeee")
    with GpuMeter(FakeNvml([gpu]), ["0"], interval_s=0.01) as meter:
        while gpu.asked.get("busy", 0) < 5:
            threading.Event().wait(0.01)
        assert len(meter.take()) == 1
    meter._thread.join(timeout=5)
    assert not meter._thread.is_alive()


@pytest.mark.parametrize("nvml", [None, FakeNvml([])])
def test_without_nvml_or_gpus_there_are_no_figures_and_no_thread(nvml):
    with GpuMeter(nvml, ["0"]) as meter:
        assert meter.take() == ()
        assert not meter._thread.is_alive()


def test_nvml_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises ImportError
    assert load_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], has_driver=False))
    assert load_nvml() is None
    usable = FakeNvml([FIRST])
    monkeypatch.setitem(sys.modules, "pynvml", usable)
    assert load_nvml() is usable
