"""Where the segments of a run are trained."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from search.driver.executor import Executor
from search.driver.interrupts import Interrupts
from search.driver.study_dispatch import WorkerSettings


@dataclass(frozen=True, slots=True)
class Place:
    """An executor, and the resources that it gives each segment."""

    executor: Executor
    worker: WorkerSettings


OpenPlace = Callable[[Interrupts], AbstractContextManager[Place]]
"""Connects to a place for one run, whose Ctrl-C the argument counts, and disconnects."""
