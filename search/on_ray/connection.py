"""Ray: started on this machine, closed to everybody else, and ended; or joined where it runs, and left running."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

from carcls.system.home import home_folder
from carcls.system.module_path import without_current_folder
from search.errors import ClusterError
from search.on_ray.auth import close_default_file, forget, new_token, presented
from search.on_ray.nodes import Node
from search.on_ray.private_folder import private_folder
from search.worker.fork_server import SOCKETS

_DRIVER_ENV = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a third of Tune's step time; the driver writes its own events
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's snapshots are never read: the study is the truth
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost worker is recorded and handed out again, not printed
    # Ray's own monitor would kill the actor, though the memory is its child's, by an error that ends the whole search.
    # Without it the kernel kills the child, and the trial goes on from its checkpoint.
    "RAY_memory_monitor_refresh_ms": "0",
}
_WORKER_ENV = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # else trials without a GPU see them all
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # read in the worker; below it a slow cleanup loses the next trial
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "PYTHONSAFEPATH": "1",  # the folder in which a node's Ray was started is no place to import from
}
_HANDED_ON = ("KERAS_BACKEND", "KERAS_HOME", "CARSEARCH_STORE")


class _JobOfOurModules(JobConfig):
    """Workers import carsearch from where it is installed. Ray would put the driver's current folder, and that of its
    script, first on their module path, unless the job brought a working directory of its own."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[list[Node]]:
    """While inside, Ray runs: on this machine alone (None), or as the cluster at `auto` or HOST:PORT; its alive nodes.

    Raises ClusterError; where a cluster does not let us in, at once.
    """
    os.environ.update({key: value for key, value in _DRIVER_ENV.items() if key not in os.environ})
    with _started_here() if address is None else _joined(address):
        yield _alive_nodes(ray.nodes())


@contextlib.contextmanager
def _started_here() -> Iterator[None]:
    """A Ray of our own: a token nobody else is told, all ports on the loopback, files closed to other users."""
    with private_folder() as folder:
        with presented(new_token()), _on_loopback():
            _init(
                "starting Ray on this machine",
                "local",
                {SOCKETS: str(folder)},
                include_dashboard=False,
                _temp_dir=str(folder / "ray"),
            )
        try:
            yield
        finally:
            _leave()


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    from search.on_ray.check_access import address_of, admission  # noqa: PLC0415 - gRPC, which only joining needs

    close_default_file(home_folder())
    place = address_of(address)
    with presented(admission(place)):
        _init(f"joining the Ray cluster at {place}", place, {})
    try:
        yield
    finally:
        _leave()


def _leave() -> None:
    ray.shutdown()
    forget()


def _init(
    what: str,
    address: str,
    worker_env: Mapping[str, str],
    **more: Any,  # noqa: ANN401 - ray.init's own options
) -> None:
    handed_on = {key: os.environ[key] for key in _HANDED_ON if key in os.environ}
    environment = {"env_vars": {**_WORKER_ENV, **handed_on, **worker_env}}
    try:
        with without_current_folder():
            ray.init(
                address=address,
                runtime_env=environment,
                job_config=_JobOfOurModules(),
                log_to_driver=False,
                logging_level=logging.ERROR,
                **more,
            )
    except Exception as error:  # Ray raises everything here, Exception itself included
        _leave()
        raise ClusterError(f"{what} failed: {error}") from error


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray started meanwhile takes 127.0.0.1 for its node, and all its processes listen there alone.

    This is how Ray runs on a desktop of Windows or macOS. On Linux it replaces a `_node_ip_address` of 127.0.0.1 by
    the machine's outer one, and listens everywhere; its environment variable for this is read once, at its import.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _alive_nodes(rows: Sequence[Mapping[str, Any]]) -> list[Node]:
    return [
        Node(
            node_id=row["NodeID"],
            name=row.get("NodeManagerHostname") or row["NodeID"][:8],
            cpus=row["Resources"].get("CPU", 0.0),
            gpus=row["Resources"].get("GPU", 0.0),
        )
        for row in rows
        if row["Alive"]
    ]
