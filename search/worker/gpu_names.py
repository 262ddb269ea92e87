"""Names GPUs across nodes: `GPU 3 of node-a`, or `GPU 0,1 of node-a` for a training on two. Pure.

Numbers and UUIDs are those of CUDA_VISIBLE_DEVICES, which counts by bus on every worker.
"""

from collections.abc import Iterable, Mapping

from carcls.backend.gpu_access import VISIBLE, GpuGrant, reveal_only

_PREFIX, _OF = "GPU ", " of "


def granted_gpus(environment: Mapping[str, str], *, gpu_share: float | None, gpu: int | None, node: str) -> str | None:
    """The name of the GPUs that a child gets, or None without GPUs. gpu_share, gpu: as in `Segment`."""
    grant = GpuGrant.of(gpu_share, gpu)
    if grant is None:
        return None
    own = dict(environment)
    reveal_only(own, grant)
    return f"{_PREFIX}{own.get(VISIBLE, '0')}{_OF}{node}"


def avoided_gpus(own: str | None, avoid: Iterable[str]) -> bool:
    """True if one of the GPUs that `own` names is among those to avoid."""
    return own is not None and any(_parts(own) & _parts(other) for other in avoid)


def _parts(name: str) -> set[tuple[str, str]]:
    """(GPU, node) of each GPU."""
    gpus, _, node = name.removeprefix(_PREFIX).rpartition(_OF)
    return {(gpu.strip(), node) for gpu in gpus.split(",")}
