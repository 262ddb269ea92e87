"""Memory of a worker's machine: its size, its kernel's out-of-memory kills, and the size of a process.

Read from /proc and /sys, because the calling process has no framework loaded.
"""

import os
import resource
import signal
from functools import cache
from pathlib import Path

from carcls.system.nvidia_smi import gpu_rows, installed_gpus, is_mig, mig_slices
from search.errors import ClusterError

_MIB = 2**20
_UNLIMITED = 2**60
"""cgroup v1 writes "no limit" as a number of about this size."""
_SOME_GPU = "GPU"
_NAME = "name,memory.total"
_PROC, _SYS = Path("/proc"), Path("/sys/fs/cgroup")


@cache
def memory_device(gpu_share: float | None, gpu: int | None = None) -> str:
    """A name of the memory that trials use, equal on workers with equal memory. gpu: as in `Segment`.

    `CPU, 15990 MiB` (the container's limit if lower), or `NVIDIA H200, 143771 MiB, share 0.5`.
    """
    if gpu_share is None:
        return f"CPU, {machine_bytes() // _MIB} MiB"
    return f"{_gpu_name(gpu or 0)}, share {gpu_share:g}"


def gpu_count() -> int:
    """Number of NVIDIA GPUs, or MIG slices, visible to this process; 0 without a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(gpu_rows(_NAME)) or installed_gpus()
    ids = [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if not gpu_rows(_NAME):  # a container without nvidia-smi
        return len(ids) if installed_gpus() else 0
    return sum(is_mig(gpu) or len(gpu_rows(_NAME, gpu=gpu)) for gpu in ids)


def _gpu_name(number: int) -> str:
    """Name and memory of one of the GPUs visible to this process; `GPU` if nvidia-smi does not know."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not visible:
        return next(iter(gpu_rows(_NAME)[number:]), _SOME_GPU)
    ids = [gpu.strip() for gpu in visible.split(",")[number : number + 1]]
    if any(is_mig(gpu) for gpu in ids):
        return mig_slices().get(ids[0], _SOME_GPU)
    return next((name for gpu in ids for name in gpu_rows(_NAME, gpu=gpu)), _SOME_GPU)


def machine_bytes(proc: Path = _PROC, sys: Path = _SYS) -> int:
    """Memory available to this process: the machine's, or its container's limit if lower.

    Raises ClusterError if the kernel does not report it.
    """
    lines = _lines(proc / "meminfo")
    total = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)
    if total is None:
        raise ClusterError(f"{proc}/meminfo does not report the machine's memory: carsearch needs Linux")
    limits = [
        int(text)
        for folder, limit, _ in _cgroups(proc, sys)
        if (text := "".join(_lines(folder / limit)).strip()).isdigit()
    ]
    return min([total, *(limit for limit in limits if limit < _UNLIMITED)])


def oom_kills(proc: Path = _PROC, sys: Path = _SYS) -> int | None:
    """The kernel's out-of-memory kills so far, in this process's cgroup or else on the machine; None if unknown."""
    files = [folder / events for folder, _, events in _cgroups(proc, sys)]
    counts = [_count(file, "oom_kill") for file in [*files, proc / "vmstat"]]
    return next((count for count in counts if count is not None), None)


def _cgroups(proc: Path, sys: Path) -> list[tuple[Path, str, str]]:
    """This process's memory cgroups as (folder, file of the limit, file of the events); v2 first, then v1.

    Inside a container the folder of that path often does not exist, and the mounted root is the container's own.
    """
    found = []
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, limit, events = sys, "memory.max", "memory.events"
        elif "memory" in controllers.split(","):
            root, limit, events = sys / "memory", "memory.limit_in_bytes", "memory.oom_control"
        else:
            continue
        own = root / path.lstrip("/")
        found.append((own if own.is_dir() else root, limit, events))
    return sorted(found, key=lambda row: row[1] != "memory.max")


def _count(file: Path, name: str) -> int | None:
    """The number after a name in a file of `name number` lines, or None."""
    rows = (line.split() for line in _lines(file))
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name), None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def was_killed_for_memory(exit_code: int | None, *, kills_before: int | None, kills_after: int | None) -> bool:
    """Whether the kernel killed a child because memory ran out; False if in doubt. Pure.

    The kernel sends SIGKILL and counts the kill. Another sender's SIGKILL is mistaken for the kernel's only if the
    kernel killed another process of the same group during the child's life.
    """
    if exit_code != -signal.SIGKILL or kills_before is None or kills_after is None:
        return False
    return kills_after > kills_before


def private_bytes(pid: int, proc: Path = _PROC) -> int:
    """Anonymous memory of a process in bytes, without mapped files; 0 once the process is gone."""
    lines = _lines(proc / str(pid) / "status")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """Peak main memory of this process, or None if unknown.

    getrusage does not serve: a process inherits its parent's peak if that was larger.
    """
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(found[0]) if found else None


def limit_own_memory(more_bytes: int) -> None:
    """From now on this process may allocate so much more private memory (RLIMIT_DATA); beyond it, allocations fail."""
    lines = _lines(_PROC / "self" / "status")
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
