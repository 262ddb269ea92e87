"""Errors of a GPU itself, quoted from public bug reports, beside errors that only mention one."""

import pytest

from carcls.backend.device_errors import device_fault, is_device_error

BROKEN = {
    "jax-ml/jax 25002": "INTERNAL: Failed to retrieve branch_index value on stream 0x5583cca477e0: CUDA error:"
    " Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered.",
    "jax-ml/jax 6921": "Execution of replica 0 failed: Internal: Failed to launch CUDA kernel:"
    " CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    "openxla/xla 15945": "INTERNAL: Failed to execute XLA Runtime executable: run time error: custom call"
    " 'xla.gpu.func.launch' failed: Failed to launch CUDA kernel: add with block dimensions: 128x1x1 and grid"
    " dimensions: 448x1x1: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered.",
    "rwth-i6/returnn 1216": "Error polling for event status: failed to query event: CUDA_ERROR_LAUNCH_FAILED:"
    " unspecified launch failure",
    "tensorflow/tensorflow 22477": "F tensorflow/core/common_runtime/gpu/gpu_event_mgr.cc:206]"
    " Unexpected Event status: 1",
    "tensorflow/tensorflow 20356": "could not synchronize on CUDA context: CUDA_ERROR_LAUNCH_FAILED :: No stack trace",
    "tensorflow/tensorflow 27281": "Error polling for event status: failed to query event: CUDA_ERROR_UNKNOWN",
    "nagadit/DeepFaceLab_Linux 89": "Internal: failed initializing StreamExecutor for CUDA device ordinal 0: Internal:"
    " failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
    "huggingface/trl 4149": "CUDA error: uncorrectable ECC error encountered",
    "vllm-project/vllm 11958": "CUDA error: device-side assert triggered",
    "NVIDIA Xid 79, kernel log": "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.",
    "nvidia-smi after Xid 79": "Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error",
    "nvidia-smi": "GPU is lost.  Reboot the system to recover this GPU",
    "CUDA runtime": "all CUDA-capable devices are busy or unavailable: CUDA_ERROR_DEVICES_UNAVAILABLE",
}
SOUND = (
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "No algorithm worked!  Error messages: eng11{}: UNKNOWN: CUDNN_STATUS_ALLOC_FAILED",
    "FAILED_PRECONDITION: DNN library initialization failed.",
    "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
    "the input's shape (7, 32, 32, 3) does not fit",
    "",
)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_gpu_is_recognised(text):
    assert device_fault(text) == text
    assert is_device_error(RuntimeError(text))


@pytest.mark.parametrize("text", SOUND)
def test_other_errors_are_not_its_fault(text):
    assert device_fault(text) is None
    assert not is_device_error(RuntimeError(text))


def test_the_first_line_of_an_output_that_says_so_is_the_cause():
    cause = "2024-08-10: E cuda_event.cc:29] failed to query event: CUDA_ERROR_LAUNCH_FAILED"
    assert device_fault(f"Epoch 1\n{cause}\nF gpu_event_mgr.cc:206] Unexpected Event status: 1") == cause


def test_the_cause_of_an_error_counts_and_memory_comes_first():
    error = ValueError("the epoch failed")
    error.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
    assert is_device_error(error)
    full = MemoryError("CUDA_ERROR_LAUNCH_FAILED")
    assert not is_device_error(full)
