"""What GPUs are doing, by NVML, the library behind nvidia-smi. Optional: without the package nvidia-ml-py, or without a
driver, there are no figures."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Self

_PACKAGE = "pynvml"
"""The module of nvidia-ml-py."""
_INTERVAL_S = 1.0
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU over some time, as samples tell; other processes on it count too. None for what it does not tell: MIG
    slices have no utilisation, and some cards no power."""

    gpu: str
    """Its number or UUID, as in CUDA_VISIBLE_DEVICES."""
    name: str
    """Of its kind."""
    busy: float | None
    """Mean share of the time in which anything ran on it, 0..1."""
    memory_mib: int | None
    """Peak."""
    memory_total_mib: int | None
    power_w: float | None
    """Mean."""
    temperature_c: float | None
    """Peak."""


@dataclass(frozen=True, slots=True)
class _Sample:
    busy: float | None
    memory_mib: int | None
    memory_total_mib: int | None
    power_w: float | None
    temperature_c: float | None


def load_nvml() -> Any | None:  # noqa: ANN401 (a module without types)
    """NVML, ready for use, or None if package, driver or permission is missing."""
    try:
        nvml = import_module(_PACKAGE)
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


class GpuMeter:
    """Samples GPUs once a second, in a thread of its own, within its block. Does nothing without NVML or GPUs."""

    def __init__(self, nvml: Any | None, gpus: Sequence[str], *, interval_s: float = _INTERVAL_S) -> None:  # noqa: ANN401
        """nvml: from `load_nvml`. gpus: as in CUDA_VISIBLE_DEVICES, numbered by bus as NVML does."""
        self._nvml = nvml
        self._interval_s = interval_s
        self._handles = {} if nvml is None else _handles(nvml, gpus)
        self._samples: dict[str, list[_Sample]] = {gpu: [] for gpu in self._handles}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-meter", daemon=True)

    def __enter__(self) -> Self:
        if self._handles:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()

    def sample(self) -> None:
        """Adds one sample of each GPU."""
        found = {gpu: _sampled(self._nvml, handle) for gpu, (handle, _) in self._handles.items()}
        with self._lock:
            for gpu, one in found.items():
                self._samples[gpu].append(one)

    def take(self) -> tuple[GpuUse, ...]:
        """Each GPU since the previous call, with at least one sample, which is taken now if need be."""
        if any(not samples for samples in self._samples.values()):
            self.sample()
        with self._lock:
            taken, self._samples = self._samples, {gpu: [] for gpu in self._handles}
        return tuple(_use(gpu, self._handles[gpu][1], samples) for gpu, samples in taken.items())

    def _run(self) -> None:
        while not self._is_over.wait(self._interval_s):
            self.sample()


def _handles(nvml: Any, gpus: Sequence[str]) -> dict[str, tuple[Any, str]]:  # noqa: ANN401 (as above)
    """GPU -> its handle and the name of its kind, of those that NVML knows."""
    found = {}
    for gpu in gpus:
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(int(gpu)) if gpu.isdigit() else nvml.nvmlDeviceGetHandleByUUID(gpu)
            name = nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError:
            continue
        found[gpu] = (handle, name.decode() if isinstance(name, bytes) else str(name))
    return found


def _sampled(nvml: Any, handle: Any) -> _Sample:  # noqa: ANN401 (as above)
    def asked(function: str, *arguments: Any) -> Any:  # noqa: ANN401 (as above)
        try:
            return getattr(nvml, function)(handle, *arguments)
        except nvml.NVMLError:  # not supported, or the GPU is lost
            return None

    rates, memory = asked("nvmlDeviceGetUtilizationRates"), asked("nvmlDeviceGetMemoryInfo")
    milliwatts = asked("nvmlDeviceGetPowerUsage")
    return _Sample(
        busy=None if rates is None else rates.gpu / 100,
        memory_mib=None if memory is None else memory.used // _MIB,
        memory_total_mib=None if memory is None else memory.total // _MIB,
        power_w=None if milliwatts is None else milliwatts / 1000,
        temperature_c=asked("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
    )


def _use(gpu: str, name: str, samples: Sequence[_Sample]) -> GpuUse:
    busy = [one.busy for one in samples if one.busy is not None]
    power_w = [one.power_w for one in samples if one.power_w is not None]
    return GpuUse(
        gpu=gpu,
        name=name,
        busy=round(sum(busy) / len(busy), 3) if busy else None,
        memory_mib=max((one.memory_mib for one in samples if one.memory_mib is not None), default=None),
        memory_total_mib=max(
            (one.memory_total_mib for one in samples if one.memory_total_mib is not None), default=None
        ),
        power_w=round(sum(power_w) / len(power_w), 1) if power_w else None,
        temperature_c=max((one.temperature_c for one in samples if one.temperature_c is not None), default=None),
    )
