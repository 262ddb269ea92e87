"""Memory on a worker's machine: what there is, what its kernel killed for want of it, and how large a process is.

Read from /proc and /sys alone: the actor that asks has no framework loaded.
"""

import os
import subprocess
from functools import cache
from pathlib import Path
from shutil import which

from search.errors import ClusterError

_MIB = 2**20
_UNLIMITED = 2**60
"""cgroup v1 writes 'no limit' as a number of this size."""
_SOME_GPU = "GPU"
_PROC, _SYS = Path("/proc"), Path("/sys/fs/cgroup")


@cache
def memory_device(gpu_share: float | None, gpu: int | None = None) -> str:
    """Names what a trial's memory is taken from, equal on workers where equally much fits. gpu: as in `Segment`.

    `CPU, 15990 MiB` (of the container, where that is less), or `NVIDIA H200, 143771 MiB, share 0.5`.
    """
    if gpu_share is None:
        return f"CPU, {machine_bytes() // _MIB} MiB"
    return f"{_gpu_name(gpu or 0)}, share {gpu_share:g}"


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use, as far as their driver's program tells."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(_gpus())
    return sum(len(_gpus(gpu)) for gpu in visible.split(",") if gpu.strip() not in ("", "-1"))


def _gpu_name(number: int) -> str:
    """Name and memory of one of the GPUs that this process may use; `GPU` where the driver's program does not tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not visible:
        return next(iter(_gpus()[number:]), _SOME_GPU)
    ids = visible.split(",")[number : number + 1]
    return next((name for gpu in ids for name in _gpus(gpu)), _SOME_GPU)


def _gpus(only: str | None = None) -> list[str]:
    """Name and memory of each GPU of the machine, or of the one with that id; nothing where the program fails."""
    program = which("nvidia-smi")
    if program is None:
        return []
    selection = [] if only is None else ["--id", only.strip()]
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader", *selection]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 (fixed program)
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def machine_bytes(proc: Path = _PROC, sys: Path = _SYS) -> int:
    """Memory that this process may have: the machine's, or its container's where that is less.

    Raises ClusterError where the kernel does not tell.
    """
    lines = _lines(proc / "meminfo")
    total = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)
    if total is None:
        raise ClusterError(f"{proc}/meminfo does not tell the machine's memory: carsearch runs on Linux")
    limits = [
        int(text)
        for folder, limit, _ in _cgroups(proc, sys)
        if (text := "".join(_lines(folder / limit)).strip()).isdigit()
    ]
    return min([total, *(limit for limit in limits if limit < _UNLIMITED)])


def oom_kills(proc: Path = _PROC, sys: Path = _SYS) -> int | None:
    """Processes that the kernel has killed so far for want of memory: in this process's control group where that is
    counted, else on the whole machine; None where neither is told."""
    files = [folder / events for folder, _, events in _cgroups(proc, sys)]
    counts = [_count(file, "oom_kill") for file in [*files, proc / "vmstat"]]
    return next((count for count in counts if count is not None), None)


def _cgroups(proc: Path, sys: Path) -> list[tuple[Path, str, str]]:
    """Where this process's memory is counted: folder, name of its limit, name of its events; v2 first, then v1.

    Within a container the folder of that path is often not there, and the root of what is mounted is its own.
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
    """The number behind a name in a file of `name number` lines."""
    rows = (line.split() for line in _lines(file))
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name), None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def was_killed_for_memory(exit_code: int | None, *, kills_before: int | None, kills_after: int | None) -> bool:
    """Whether a child's death was the kernel's doing for want of memory; False in doubt.

    SIGKILL and nothing else is what the kernel sends; and while the child lived it must have counted a kill. Somebody
    else's SIGKILL is then taken for the kernel's only where that killed another process of the same group meanwhile.
    """
    if exit_code != -9 or kills_before is None or kills_after is None:
        return False
    return kills_after > kills_before


def own_bytes(pid: int, proc: Path = _PROC) -> int:
    """Memory that only this process holds, files that it has mapped left out; 0 once it is gone."""
    lines = _lines(proc / str(pid) / "status")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """Most main memory that this process has held; None where the system does not tell.

    Not getrusage's: that is inherited from whoever started the process, were it larger.
    """
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(found[0]) if found else None
