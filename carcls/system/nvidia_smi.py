"""Queries of NVIDIA GPUs through the driver's own program, which needs no framework."""

import contextlib
import re
import subprocess
from pathlib import Path
from shutil import which

_TIMEOUT_S = 60
"""The first query after a boot may wait for the driver to load."""
_MIG = re.compile(r"^\s+(MIG \S+)\s.*\(UUID: (MIG-[^)]+)\)")
"""A line of `nvidia-smi -L` about a slice, such as `  MIG 1g.10gb  Device 0: (UUID: MIG-c6d4...)`."""
_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")


def query_gpus(fields: str, *, gpu: str | None = None) -> list[str]:
    """One comma-separated row for each GPU of the machine, or for the GPU with that id.

    fields: as in `nvidia-smi --query-gpu`. Memory is in MiB, with its unit; what a GPU does not know is `[N/A]`. MIG
    slices have no rows of their own. Raises FileNotFoundError without the program, CalledProcessError if it fails.
    """
    selection = [] if gpu is None else ["--id", gpu.strip()]
    return _answer(f"--query-gpu={fields}", "--format=csv,noheader", *selection).strip().splitlines()


def mig_slices() -> dict[str, str]:
    """UUID of each MIG slice of the machine -> its kind, such as `MIG 1g.10gb`; empty without nvidia-smi or slices."""
    with contextlib.suppress(FileNotFoundError, subprocess.SubprocessError):
        found = (_MIG.match(line) for line in _answer("-L").splitlines())
        return {match[2]: match[1] for match in found if match}
    return {}


def is_mig(gpu: str) -> bool:
    """True for the id of a MIG slice, as in CUDA_VISIBLE_DEVICES."""
    return gpu.strip().startswith("MIG-")


def gpu_rows(fields: str, *, gpu: str | None = None) -> list[str]:
    """`query_gpus`, but empty if nvidia-smi is missing or fails."""
    with contextlib.suppress(FileNotFoundError, subprocess.SubprocessError):
        return query_gpus(fields, gpu=gpu)
    return []


def installed_gpus(folder: Path = _DRIVER_FOLDER) -> int:
    """Number of GPUs that the kernel's driver knows. Containers often have a driver but no nvidia-smi."""
    with contextlib.suppress(OSError):
        return sum(1 for _ in folder.iterdir())
    return 0


def mib(text: str) -> int | None:
    """The number in an answer such as `81559 MiB`; None for `[N/A]` and the like."""
    number = text.strip().split(" ")[0]
    return int(number) if number.isdigit() else None


def _answer(*options: str) -> str:
    program = which("nvidia-smi")
    if program is None:
        raise FileNotFoundError("nvidia-smi is not on the PATH")
    command = [program, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout  # noqa: S603 (fixed program)
