"""The place where a run trains its segments: this machine or a Ray cluster."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from search.driver.executor import Executor
from search.driver.interrupts import Interrupts
from search.driver.nodes.node_roster import NodeRoster
from search.driver.study_dispatch import WorkerSettings


@dataclass(frozen=True, slots=True)
class Place:
    """An executor and the settings of its workers."""

    executor: Executor
    worker: WorkerSettings
    roster: NodeRoster = field(default_factory=NodeRoster)
    """The nodes, if it is a cluster; empty for this machine."""


OpenPlace = Callable[[Interrupts], AbstractContextManager[Place]]
"""Opens a place for one run and closes it afterwards. The argument counts the run's Ctrl-C."""
