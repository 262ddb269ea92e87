"""Keeps the programs that XLA compiled on a node's disk, so that later processes need not compile them again.

JAX compiles everything, TensorFlow what runs on GPUs. A program is used again only by the same versions on the same
kind of device: the folder's name says which.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import MutableMapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from carcls.backend.framework import keras
from carcls.system.nvidia_smi import gpu_rows

_PACKAGES = {"jax": ("jax", "jaxlib", "keras"), "tensorflow": ("tensorflow", "keras")}
_TF_FLAGS = "TF_XLA_FLAGS"
_TF_FOLDER_FLAG = "--tf_xla_persistent_cache_directory="


@dataclass(frozen=True, slots=True)
class CompileCache:
    """A folder of compiled programs, of limited size."""

    root: Path
    """Holds one folder per combination of versions and device."""
    limit_bytes: int
    """The least recently used programs beyond it are deleted when a process starts."""

    def use(self, environment: MutableMapping[str, str]) -> None:
        """Makes this process's framework read and write programs there. Call it before anything is compiled.

        If the folder cannot be written, programs are not kept; nothing else changes.
        """
        backend = keras.backend.backend()
        folder = self.root / folder_name(backend)
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            prune(self.root, self.limit_bytes)
            if backend == "jax":
                import jax  # noqa: PLC0415 (only where it is the backend)

                # Not by its variable, which JAX reads when it is imported: the fork server has done that.
                jax.config.update("jax_compilation_cache_dir", str(folder))
                # By default programs that compile in under a second are not kept: a model's dozens of initialisers.
                jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            elif _TF_FOLDER_FLAG not in environment.get(_TF_FLAGS, ""):
                environment[_TF_FLAGS] = f"{environment.get(_TF_FLAGS, '')} {_TF_FOLDER_FLAG}{folder}".strip()


def folder_name(backend: str) -> str:
    """Versions of the framework and a digest of the device: its GPUs and their driver, and what the CPU can do."""
    versions = [f"{package}-{_version(package)}" for package in _PACKAGES[backend]]
    device = [*gpu_rows("name,driver_version"), platform.machine(), *_cpu_flags(Path("/proc/cpuinfo"))]
    return "-".join([*versions, hashlib.blake2b("\n".join(device).encode(), digest_size=4).hexdigest()])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a build under another name, such as tensorflow-cpu
        return "unknown"


def _cpu_flags(cpuinfo: Path) -> list[str]:
    """The first processor's flags. Compiled for a CPU with more of them, a program would crash here."""
    with contextlib.suppress(OSError):
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.startswith(("flags", "Features"))][:1]
    return []


def prune(root: Path, limit_bytes: int) -> int:
    """Deletes the least recently used files below `root` until the rest fits. Returns the bytes freed."""
    stock = sorted(_files(root), key=lambda one: (one[1], one[0]))
    excess, freed = sum(size for _, _, size in stock) - limit_bytes, 0
    for path, _, size in stock:
        if freed >= excess:
            break
        with contextlib.suppress(OSError):  # another process was faster
            path.unlink()
            freed += size
    return freed


def size_bytes(root: Path) -> int:
    """Size of all files below `root`; 0 if it does not exist."""
    return sum(size for _, _, size in _files(root))


def _files(root: Path) -> list[tuple[Path, float, int]]:
    """(path, time of last use, size) of every file below `root`."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                status = (Path(folder) / name).stat()
                found.append((Path(folder) / name, max(status.st_atime, status.st_mtime), status.st_size))
    return found
