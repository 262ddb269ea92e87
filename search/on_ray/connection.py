"""Starts a private Ray on this machine and shuts it down, or joins a running cluster and leaves it running."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from carcls.system.home import home_folder
from carcls.system.module_path import without_current_folder
from search.errors import ClusterError
from search.on_ray.auth import new_token, restrict_default_file, using_token
from search.on_ray.cluster.nodes import Node, alive_nodes
from search.on_ray.private_folder import private_folder
from search.on_ray.ray_private import InstalledCodeJob, clear_auth_cache, loopback_only, temp_folder
from search.on_ray.usage_statistics import turn_off
from search.worker.fork_server import SOCKET_FOLDER_ENV

_DRIVER_ENV = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a third of Tune's step time; the driver writes its own events
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's snapshots are never read: the study is the truth
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost worker is recorded and handed out again, not printed
    # Ray's memory monitor would kill the actor instead of its child, with an error that ends the whole search. Without
    # it the kernel kills the child, and the trial resumes from its checkpoint.
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
_FORWARDED = ("KERAS_BACKEND", "KERAS_HOME", "CARSEARCH_STORE")


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[list[Node]]:
    """Inside, this process is connected to Ray; yields the alive nodes.

    address: None starts Ray on this machine; `auto` or HOST:PORT joins a cluster. Raises ClusterError, at once if a
    cluster denies access.
    """
    os.environ.update({key: value for key, value in _DRIVER_ENV.items() if key not in os.environ})
    turn_off(os.environ, Path.home())
    with _started_here() if address is None else _joined(address):
        yield alive_nodes(ray.nodes())


@contextlib.contextmanager
def _started_here() -> Iterator[None]:
    """A private Ray: a new secret token, all ports on the loopback, files closed to other users."""
    with private_folder() as folder:
        with using_token(new_token()), loopback_only():
            _init(
                "starting Ray on this machine",
                "local",
                {SOCKET_FOLDER_ENV: str(folder)},
                include_dashboard=False,
                **temp_folder(folder / "ray"),
            )
        try:
            yield
        finally:
            _leave()


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    from search.on_ray.check_access import access_token, resolve_address  # noqa: PLC0415 - gRPC, which only joining needs

    restrict_default_file(home_folder())
    place = resolve_address(address)
    with using_token(access_token(place)):
        _init(f"joining the Ray cluster at {place}", place, {})
    try:
        yield
    finally:
        _leave()


def _leave() -> None:
    ray.shutdown()
    clear_auth_cache()


def _init(
    what: str,
    address: str,
    worker_env: Mapping[str, str],
    **more: Any,  # noqa: ANN401 - ray.init's own options
) -> None:
    forwarded = {key: os.environ[key] for key in _FORWARDED if key in os.environ}
    environment = {"env_vars": {**_WORKER_ENV, **forwarded, **worker_env}}
    try:
        with without_current_folder():
            ray.init(
                address=address,
                runtime_env=environment,
                job_config=InstalledCodeJob(),
                log_to_driver=False,
                logging_level=logging.ERROR,
                **more,
            )
    except Exception as error:  # Ray raises many types here, even plain Exception
        _leave()
        raise ClusterError(f"{what} failed: {error}") from error
