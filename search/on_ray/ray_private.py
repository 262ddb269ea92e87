"""Every private name of Ray that carsearch uses, in one place, because any release of Ray may change them.

`tests/search/on_ray/test_ray_private.py` checks each of them at the pinned version.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, worker
from ray._private.accelerators import NvidiaGPUAcceleratorManager
from ray._private.services import canonicalize_bootstrap_address
from ray._private.state import state
from ray._private.utils import get_num_cpus
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled: mypy sees no names
from ray.core.generated.common_pb2 import Address
from ray.experimental import internal_kv
from ray.job_config import JobConfig
from ray.tune.experiment import Trial

CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""The cheapest call of the control store (GCS). An empty request is valid."""

bootstrap_address = canonicalize_bootstrap_address
"""HOST:PORT of the control store that `auto` or HOST:PORT means, or None for `local`. Raises ConnectionError if `auto`
finds no cluster, ValueError for any other text."""

_NAMESPACE = b"carsearch"
"""Of our keys in the control store."""

usable_cpus = get_num_cpus
"""Number of CPUs that Ray would offer on this machine."""


class InstalledCodeJob(JobConfig):
    """A job whose workers import carsearch from where it is installed.

    Ray would put the driver's current folder and its script's folder first on the workers' module path, unless the job
    has a working directory of its own.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def clear_auth_cache() -> None:
    """Makes Ray read the auth mode and token again at its next connection; it reads them once per process."""
    # The mode first: a thread that still runs would miss the token in the old mode.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def temp_folder(folder: Path) -> dict[str, str]:
    """The option of `ray.init` for the folder of Ray's sockets and logs."""
    return {"_temp_dir": str(folder)}


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """A Ray started inside uses 127.0.0.1 as its node's address, and all its processes listen only there.

    Ray runs like this on Windows and macOS. On Linux it replaces a `_node_ip_address` of 127.0.0.1 by the machine's
    outer address and listens everywhere. It reads the environment variable for this only once, when it is imported.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def gcs_channel(address: str) -> Any:  # noqa: ANN401 - grpc has no types
    """A gRPC channel to HOST:PORT, with TLS as Ray's environment variables say, and without a web proxy."""
    from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415 - gRPC, which only joining a cluster needs

    return init_grpc_channel(address, options=(("grpc.enable_http_proxy", 0),))


def actor_of(trial: Trial) -> Any:  # noqa: ANN401 - Ray's actor handles have no public type
    """The actor that runs a Tune trial, or None."""
    return trial.temporary_state.ray_actor


def node_of(actor: Any) -> str | None:  # noqa: ANN401 - Ray's actor handles have no public type
    """Id of the node of a started actor, also of a dead one, or None. `ray.util.state` would need the dashboard."""
    table = state.actor_table(actor._actor_id.hex())
    return table.get("Address", {}).get("NodeID") or None


def own_address() -> str:
    """HOST:PORT of this process's own server within the cluster. Call it when connected."""
    address = Address()
    address.ParseFromString(worker.global_worker.core_worker.get_owner_address(ray.put(None)))
    return f"{address.ip_address}:{address.port}"


@contextlib.contextmanager
def raylet_lines_to(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, messages of the cluster, such as that of a lost node, go to `say`, line by line.

    A thread of the driver's would print them, whatever `log_to_driver` says.
    """
    before = worker.print_to_stdstream

    def told(data: Mapping[str, Any], **_: object) -> None:
        for line in data["lines"]:
            say(line)

    worker.print_to_stdstream = told
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def leaving_nodes() -> frozenset[str]:
    """Ids of the alive nodes that were told to drain."""
    return frozenset(state.get_draining_nodes())


def ask_to_hand_over() -> None:
    """Asks all workers of this driver's job to save their state and end. May hang if the control store does."""
    internal_kv._internal_kv_put(_hand_over_key(), b"1", namespace=_NAMESPACE)


def is_hand_over_asked() -> bool:
    """True once this worker's driver has called `ask_to_hand_over`. May hang or raise if the control store does."""
    return bool(internal_kv._internal_kv_exists(_hand_over_key(), namespace=_NAMESPACE))


def _hand_over_key() -> bytes:
    """Of this driver's job: ids of jobs are never used twice in a cluster."""
    return f"hand over {ray.get_runtime_context().get_job_id()}".encode()


def usable_gpus() -> int:
    """Number of NVIDIA GPUs that Ray would offer on this machine."""
    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    return NvidiaGPUAcceleratorManager.get_current_node_num_accelerators() if visible is None else len(visible)
