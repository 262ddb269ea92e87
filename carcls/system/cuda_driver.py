"""The CUDA driver's own answers about the visible GPUs, without a framework and without a context on any GPU.

It sees what a framework will see: CUDA_VISIBLE_DEVICES, MIG slices, unified memory, and a total without what the driver
keeps for itself. Call it only in a process that will not fork afterwards, since CUDA does not survive a fork.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (CUDA Driver API, CUdevice_attribute)."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU, or one MIG slice of it."""

    total_mib: int
    """Memory as CUDA sees it."""
    capability: tuple[int, int] | None
    """Compute capability, or None if unknown."""


def load_driver() -> Any | None:  # noqa: ANN401 (a foreign library has no type)
    """The driver's library, or None without a driver."""
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def visible_cards(driver: Any | None) -> list[Card] | None:  # noqa: ANN401 (as above)
    """The GPUs that CUDA sees in this process, in its order; None if the driver does not answer.

    driver: from `load_driver`.
    """
    count = ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return None
    cards = [_card(driver, ordinal) for ordinal in range(count.value)]
    return None if None in cards else [card for card in cards if card is not None]


def _card(driver: Any, ordinal: int) -> Card | None:  # noqa: ANN401 (as above)
    device, total = ctypes.c_int(), ctypes.c_size_t()
    if driver.cuDeviceGet(ctypes.byref(device), ordinal) or driver.cuDeviceTotalMem_v2(ctypes.byref(total), device):
        return None
    major, minor = (_attribute(driver, number, device) for number in (_MAJOR, _MINOR))
    return Card(total.value // _MIB, None if major is None or minor is None else (major, minor))


def _attribute(driver: Any, number: int, device: ctypes.c_int) -> int | None:  # noqa: ANN401 (as above)
    value = ctypes.c_int()
    return None if driver.cuDeviceGetAttribute(ctypes.byref(value), number, device) else value.value
