"""Queries of NVIDIA GPUs through the driver's own program, which needs no framework."""

import subprocess
from shutil import which

_TIMEOUT_S = 60
"""The first query after a boot may wait for the driver to load."""


def query_gpus(fields: str, *, gpu: str | None = None) -> list[str]:
    """One comma-separated row for each GPU of the machine, or for the GPU with that id.

    fields: as in `nvidia-smi --query-gpu`. Memory is in MiB, with its unit. Raises FileNotFoundError without the
    program, CalledProcessError if it fails.
    """
    program = which("nvidia-smi")
    if program is None:
        raise FileNotFoundError("nvidia-smi is not on the PATH")
    selection = [] if gpu is None else ["--id", gpu.strip()]
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader", *selection]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603 (fixed program)
    return answer.stdout.strip().splitlines()
