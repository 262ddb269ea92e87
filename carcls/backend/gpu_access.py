"""Which GPUs a process sees, and the error if those that it was granted cannot be used."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from carcls.errors import DeviceError
from carcls.system.nvidia_smi import gpu_rows

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
_NO_GPU = ""
_JAX_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")


@dataclass(frozen=True, slots=True)
class GpuGrant:
    """The GPUs of one process."""

    count: int
    share: float
    """Share of each one's memory, 0..1."""
    first: int | None = None
    """Number of the first one among those visible before, or None if exactly these are visible already."""

    @classmethod
    def of(cls, gpus: float | None, first: int | None) -> Self | None:
        """gpus: a share of one GPU, or a number of whole ones; None: no GPU. Raises ValueError for 2.5."""
        if gpus is None:
            return None
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus: {gpus:g} is neither a share of one GPU nor a number of whole GPUs")
        return cls(max(int(gpus), 1), min(gpus, 1.0), first)


def reveal_only(environment: MutableMapping[str, str], grant: GpuGrant | None) -> None:
    """Hides all other GPUs from this process. Call it before CUDA starts in it.

    Numbers count as nvidia-smi and Ray do, by bus. CUDA itself would start with the fastest.
    """
    environment.setdefault(ORDER, "PCI_BUS_ID")
    if grant is None:
        environment[VISIBLE] = _NO_GPU
    elif grant.first is not None:
        numbers = range(grant.first, grant.first + grant.count)
        before = environment.get(VISIBLE)
        names = (
            [str(number) for number in numbers] if before is None else before.split(",")[numbers.start : numbers.stop]
        )
        environment[VISIBLE] = ",".join(name.strip() for name in names)


@contextmanager
def only_first_gpus(environment: MutableMapping[str, str], count: int) -> Iterator[None]:
    """Within the block, processes that start see only the first `count` of the GPUs visible now."""
    before = {name: environment.get(name) for name in (VISIBLE, ORDER)}
    reveal_only(environment, GpuGrant(count, 1.0, 0) if count else None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value


def check_seen(
    grant: GpuGrant, seen: int, environment: MutableMapping[str, str], *, backend: str, why: str = ""
) -> None:
    """Raises DeviceError if the framework sees fewer GPUs than were granted.

    why: what the framework says about it. Without this check it would train on the CPU in silence.
    """
    if seen >= grant.count:
        return
    asked = "a GPU was" if grant.count == 1 else f"{grant.count} GPUs were"
    raise DeviceError(
        f"{asked} granted (CUDA_VISIBLE_DEVICES={environment.get(VISIBLE, '')}) but {backend} {version(backend)} sees"
        f" {seen or 'none'}{f' ({why})' if why else ''}; {_driver()}; {_cuda_libraries(backend)}: install a driver for"
        f" these libraries, or the libraries with pip install 'carsearch[{_extra(backend)}]', or train on the CPU with"
        " --set 'search.resources={gpus_per_trial: 0}'"
    )


def _driver() -> str:
    found = gpu_rows("driver_version")
    return f"NVIDIA driver {found[0].strip()}" if found else "NVIDIA driver: not found (nvidia-smi does not answer)"


def _cuda_libraries(backend: str) -> str:
    """What the installed framework was built for."""
    if backend == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

        build = tf.sysconfig.get_build_info()
        if not build.get("is_cuda_build"):
            return "this TensorFlow was built without CUDA"
        return f"CUDA libraries {build.get('cuda_version')} and cuDNN {build.get('cudnn_version')} needed"
    for plugin in _JAX_PLUGINS:
        try:
            return f"CUDA libraries of {plugin} {version(plugin)} needed"
        except PackageNotFoundError:
            continue
    return "JAX has no CUDA plugin here"


def _extra(backend: str) -> str:
    return "gpu" if backend == "tensorflow" else "jax-gpu"
