"""The trainable that Ray Tune runs: a new process for each segment, forked from a server that imported TensorFlow.

    Ray actor (Tune's function trainable; no TensorFlow in it)
      └─ fork server: imports keras once, after Ray has set the actor's GPUs
           └─ child: one segment; its GPU memory is freed when it exits
                └─ batch workers, forked before TensorFlow runs; see carcls.input.batch_worker_server

A killed actor, raylet or driver leaves no orphans: see search.worker.supervisor and search.on_ray.driver_line.
"""

import contextlib
import os
import platform
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import ray
from ray import tune

from search.on_ray.cluster.drain_watch import should_hand_over
from search.on_ray.driver_line import follow_driver
from search.worker.entry import child_main
from search.worker.gpu_names import avoided_gpus, granted_gpus
from search.worker.node_messages import node_messages
from search.worker.segment import Parked, Placed, Segment, to_wire

DRIVER = "driver"
"""Key of a Tune trial's configuration: arguments of `follow_driver`."""
_PARKED_S = 2.0
"""A parked worker asks so often whether the search is over."""


def run_segment(config: dict[str, Any]) -> None:
    """Starts the child, reports its messages to Tune, and returns when the child ends.

    `tune.report` blocks until the driver has recorded the message, and raises SystemExit when Tune stops the trial.
    """
    if DRIVER in config:
        follow_driver(**config[DRIVER])
    run_in_actor(Segment(**config["segment"]), child_main)


def run_in_actor(segment: Segment, main: Callable[[Segment, Connection, Connection], None]) -> None:
    """`run_segment` with any main function of a child. It must be importable by name."""
    own = granted_gpus(os.environ, gpu_share=segment.gpu_share, gpu=segment.gpu, node=platform.node())
    if own is not None and avoided_gpus(own, segment.avoid_gpus):
        _park(own)
    if segment.requires:
        tune.report(to_wire(Placed(ray.get_runtime_context().get_node_id(), platform.node())))
    with contextlib.closing(node_messages(segment, main, is_leaving=should_hand_over)) as messages:
        for message in messages:
            tune.report(to_wire(message))


def _park(gpus: str) -> NoReturn:
    """Keeps a GPU that is left out from the next segments: Ray would grant it again. Ends when Tune stops the trial."""
    while True:
        tune.report(to_wire(Parked(gpus)))
        time.sleep(_PARKED_S)
