"""Errors that mean too little memory, as TensorFlow and JAX word them."""

import pytest

from carcls.backend import memory_errors
from carcls.backend.memory_errors import free_mib, is_ambiguous, is_out_of_memory


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
        (
            RuntimeError(
                "Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform CUDA:"
                " CUDA_ERROR_OUT_OF_MEMORY (you may need to uninstall the failing plugin package)"
            ),
            True,
        ),
        (RuntimeError("Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices."), False),
        (RuntimeError("the queue is out of memory"), False),
        (NotFoundError("/data/x.npz; No such file or directory"), False),
        (InternalError("Blas xGEMM launch failed"), False),
        (ValueError("out of memory cards for this game"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_out_of_memory_is_recognised(error, expected):
    assert is_out_of_memory(error) is expected


def test_out_of_memory_is_recognised_as_a_cause():
    def fail() -> None:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise RuntimeError("the step failed") from cause

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert is_out_of_memory(raised.value)


def test_tensorflows_own_error_is_recognised():
    import tensorflow as tf

    assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert not is_out_of_memory(tf.errors.InvalidArgumentError(None, None, "bad shape"))


AMBIGUOUS = [
    NotFoundError("No algorithm worked!  Error messages: Profiling failure on CUDNN engine eng0"),
    OpError("Failed to get convolution algorithm. This is probably because cuDNN failed to initialize"),
    XlaRuntimeError("FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above."),
    InternalError("Failed to create cuDNN handle: CUDNN_STATUS_NOT_INITIALIZED"),
    JaxRuntimeError("INTERNAL: failed to create cublas handle: CUBLAS_STATUS_NOT_INITIALIZED"),
]


@pytest.mark.parametrize("error", AMBIGUOUS, ids=lambda error: str(error)[:30])
@pytest.mark.parametrize(("free", "expected"), [("100 MiB", True), ("9000 MiB", False), ("[N/A]", False)])
def test_a_failed_cuda_library_is_out_of_memory_only_with_little_free(monkeypatch, error, free, expected):
    monkeypatch.setattr(memory_errors, "gpu_rows", lambda fields, gpu=None: [free])
    assert is_ambiguous(error)
    assert is_out_of_memory(error) is expected


def test_other_errors_are_not_ambiguous():
    assert not is_ambiguous(InternalError("Blas xGEMM launch failed"))
    assert not is_ambiguous(ValueError("No algorithm worked!"))


def test_the_fullest_visible_gpu_counts(monkeypatch):
    answers = {" 1": ["5000 MiB"], "0": ["300 MiB"], None: ["7 MiB", "8 MiB"]}
    monkeypatch.setattr(memory_errors, "gpu_rows", lambda fields, gpu=None: answers[gpu])
    assert free_mib("0, 1") == 300
    assert free_mib(None) == 7
    assert free_mib("") is None
