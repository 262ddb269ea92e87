"""NVML as the package nvidia-ml-py offers it, over GPUs that a test describes. NVML is not ours, and no GPU is here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """The package's base class."""


@dataclass
class FakeGpu:
    """One GPU; each figure is what successive samples find, the last one for ever. Empty: not supported."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-40GB"
    busy: Sequence[int] = (80,)
    """Per cent."""
    used_mib: Sequence[int] = (1024,)
    total_mib: int = 40960
    milliwatts: Sequence[int] = (250_000,)
    celsius: Sequence[int] = (60,)
    asked: dict[str, int] = field(default_factory=dict)

    def answer(self, figure: str) -> int:
        values = getattr(self, figure)
        if not values:
            raise NVMLError("Not Supported")
        number = self.asked.get(figure, 0)
        self.asked[figure] = number + 1
        return values[min(number, len(values) - 1)]


class FakeNvml:
    """The functions that carsearch calls."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: Sequence[FakeGpu], *, has_driver: bool = True) -> None:
        self._gpus = gpus
        self._has_driver = has_driver

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name, as below
        if not self._has_driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        if index >= len(self._gpus):
            raise NVMLError("Invalid Argument")
        return self._gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:  # noqa: N802
        for gpu in self._gpus:
            if gpu.uuid == uuid:
                return gpu
        raise NVMLError("Not Found")

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.name

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=gpu.answer("busy"), memory=0)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=gpu.answer("used_mib") * 2**20, total=gpu.total_mib * 2**20)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        return gpu.answer("milliwatts")

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return gpu.answer("celsius")
