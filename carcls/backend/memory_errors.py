"""Tells errors that mean too little memory from others, by class name and text: no framework has to be imported."""

import os
from collections.abc import Iterator

from carcls.backend.gpu_access import VISIBLE
from carcls.system.nvidia_smi import gpu_rows, mib

_RUNTIME_ERRORS = {"XlaRuntimeError", "JaxRuntimeError", "OpError", "InternalError"}
"""Names of JAX's error classes and of the base classes of TensorFlow's."""
_OUT_OF_MEMORY_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "out_of_memory",
    "oom when allocating",
    "failed to allocate",
    "_status_alloc_failed",  # cuDNN and cuBLAS; a NotFoundError if every convolution algorithm failed this way
    "dst tensor is not initialized",  # a copy to a full GPU
)
"""Lower-case parts of messages that mean out of memory. Most do not come as RESOURCE_EXHAUSTED."""
_AMBIGUOUS_TEXTS = (
    "no algorithm worked",
    "failed to get convolution algorithm",
    "dnn library initialization failed",
    "cudnn_status_not_initialized",
    "cublas_status_not_initialized",
)
"""Lower-case parts of messages with which CUDA's libraries fail if they get no memory, but also for other reasons, such
as a driver that does not fit."""
_BACKEND_TEXT = "unable to initialize backend"
"""JAX raises a plain RuntimeError if a GPU's backend cannot start, with the cause in its text."""
_LOW_FREE_MIB = 256
"""Less free memory than this is too little for CUDA's libraries to start. A process with a whole GPU leaves several
times as much, see `carcls.backend.gpu_memory`."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error or one of its causes means that the device or the machine ran out of memory.

    An ambiguous error, see `is_ambiguous`, counts if the GPU has hardly any free memory now.
    """
    if any(_says_out_of_memory(link) for link in error_chain(error)):
        return True
    return is_ambiguous(error) and _is_low(free_mib(os.environ.get(VISIBLE)))


def is_ambiguous(error: BaseException) -> bool:
    """True if a library of CUDA failed in a way that may be lack of memory. A fresh process can
    tell, since memory that another one held for a moment is free then."""
    return any(
        _is_runtime_error(link) and any(words in str(link).lower() for words in _AMBIGUOUS_TEXTS)
        for link in error_chain(error)
    )


def free_mib(visible: str | None) -> int | None:
    """Free memory of the fullest GPU that this process sees, or None if unknown. visible: CUDA_VISIBLE_DEVICES."""
    ids = [None] if visible is None else [one for one in visible.split(",") if one.strip()]
    known = [mib(row) for gpu in ids for row in gpu_rows("memory.free", gpu=gpu)]
    return min((free for free in known if free is not None), default=None)


def _is_low(free: int | None) -> bool:
    return free is not None and free < _LOW_FREE_MIB


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause's cause, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _is_runtime_error(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & _RUNTIME_ERRORS) or (isinstance(error, RuntimeError) and _BACKEND_TEXT in str(error).lower())


def _says_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    if isinstance(error, MemoryError):
        return True
    if "No space left on device" in text:  # a full disk is RESOURCE_EXHAUSTED too, and a smaller batch does not help
        return False
    if "ResourceExhaustedError" in {cls.__name__ for cls in type(error).__mro__}:
        return True
    return _is_runtime_error(error) and any(words in text.lower() for words in _OUT_OF_MEMORY_TEXTS)
