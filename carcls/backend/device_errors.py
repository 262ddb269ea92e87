"""Tells errors of a GPU itself from errors of what it was asked to do, by text: no framework has to be imported.

Some of these errors can also come from a wrong program, such as an illegal address. One alone therefore proves little;
`search.policy.node_health` decides how many do.
"""

from carcls.backend.memory_errors import error_chain, is_out_of_memory

_DEVICE_TEXTS = (
    "cuda_error_illegal_address",
    "an illegal memory access was encountered",
    "cuda_error_launch_failed",
    "unspecified launch failure",
    "cuda_error_launch_timeout",
    "cuda_error_illegal_instruction",
    "cuda_error_misaligned_address",
    "cuda_error_hardware_stack_error",
    "cuda_error_ecc_uncorrectable",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
    "cuda_error_assert",
    "device-side assert",
    "cuda_error_devices_unavailable",
    "cuda-capable device(s) is/are busy or unavailable",
    "cuda_error_system_not_ready",
    "cuda_error_context_is_destroyed",
    "cuda_error_unknown",
    "fallen off the bus",
    "gpu is lost",
    "unable to determine the device handle",
    "unexpected event status: 1",  # TensorFlow's last line before it aborts
    "nvrm: xid",
)
"""Lower-case parts of what the CUDA driver, TensorFlow and XLA say of a broken GPU or a broken context on it: names and
texts of the driver's results (CUDA Driver API, CUresult), the kernel module's lines, and public bug reports, which the
test of this file quotes."""


def device_fault(text: str) -> str | None:
    """The first line of `text` that says that a GPU failed, or None. Later ones follow from it. Pure."""
    for line in text.splitlines():
        lowered = line.lower()
        if any(words in lowered for words in _DEVICE_TEXTS):
            return line.strip()
    return None


def is_device_error(error: BaseException) -> bool:
    """True if the error or one of its causes means that a GPU failed. Lack of memory does not."""
    return not is_out_of_memory(error) and any(device_fault(str(link)) for link in error_chain(error))
