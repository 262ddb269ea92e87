"""The trainable that Ray Tune runs: a new process for each segment, forked from a server that imported TensorFlow.

    Ray actor (Tune's function trainable; no TensorFlow in it)
      └─ fork server: imports keras once, after Ray has set the actor's GPUs
           └─ child: one segment; its GPU memory is freed when it exits
                └─ batch workers, forked before TensorFlow runs; see carcls.input.batch_worker_server

A killed actor, raylet or driver leaves no orphans: see search.worker.supervisor.
"""

import contextlib
from typing import Any

from ray import tune

from search.worker.entry import child_main
from search.worker.segment import Segment, to_wire
from search.worker.supervisor import worker_messages


def run_segment(config: dict[str, Any]) -> None:
    """Starts the child, reports its messages to Tune, and returns when the child ends.

    `tune.report` blocks until the driver has recorded the message, and raises SystemExit when Tune stops the trial.
    """
    with contextlib.closing(worker_messages(Segment(**config["segment"]), child_main)) as messages:
        for message in messages:
            tune.report(to_wire(message))
