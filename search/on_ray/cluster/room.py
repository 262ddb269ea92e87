"""Waits until a cluster has room for a trial: its head may have no CPUs, and its workers may yet have to start."""

import time
from collections.abc import Callable

import ray
from ray.autoscaler.sdk import request_resources

from search.errors import ClusterError
from search.experiment.search_settings import ResourceSettings, SearchSettings
from search.on_ray.cluster.live_cluster import LiveCluster
from search.on_ray.cluster.nodes import accelerator_resource, plan_resources
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_PAUSE_S = 2.0


def await_room(
    cluster: LiveCluster,
    settings: SearchSettings,
    *,
    raise_if_due: Callable[[], None],
    clock_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once a node has room for one trial, having told Ray's autoscaler what is needed.

    Raises ClusterError after `search.resources.wait_minutes`, and what `raise_if_due` raises.
    """
    wishes = settings.resources
    end_s, has_asked = clock_s() + 60 * wishes.wait_minutes, False
    while True:
        raise_if_due()
        cluster.look(ray.nodes())
        try:
            plan_resources(
                cluster.nodes,
                gpus_per_trial=wishes.gpus_per_trial,
                cpus_per_trial=wishes.cpus_per_trial,
                max_concurrent=None,
                accelerator=wishes.accelerator,
            )
        except ClusterError as error:
            if clock_s() >= end_s:
                raise
            if not has_asked:
                _log.info("waiting up to %g minutes for a node: %s", wishes.wait_minutes, error)
                request_resources(bundles=[wanted(wishes)] * (settings.max_concurrent or 1))
                has_asked = True
            sleep(_PAUSE_S)
        else:
            if has_asked:
                request_resources(bundles=[])  # from now on, pending trials tell the autoscaler
            return


def wanted(wishes: ResourceSettings) -> dict[str, float]:
    """What one trial needs at least, as the user asked for it, not as the present nodes suggest. Pure."""
    gpus = float(wishes.accelerator is not None) if wishes.gpus_per_trial is None else wishes.gpus_per_trial
    need = {"CPU": float(wishes.cpus_per_trial or 1)}
    if gpus:
        need["GPU"] = gpus
    return need if wishes.accelerator is None else need | {accelerator_resource(wishes.accelerator): 0.001}
