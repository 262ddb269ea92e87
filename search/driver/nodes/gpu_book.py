"""Counts faults of GPUs, and leaves out those that fail twice in a row: `NodeBook` one level down."""

import json

from search.driver.nodes.node_roster import NodeRoster
from search.study.gpu_notes import GPUS_KEY
from search.study.study import Study
from search.worker.segment import Outcome

_EXCLUDE_AFTER = 2


class GpuBook:
    """Records in the study which GPUs are at fault. Does nothing on CPUs. Not thread-safe.

    A trial that ran on several GPUs at once blames them together, since no error says which of them failed.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._roster = NodeRoster(_EXCLUDE_AFTER, what="GPU")
        self._kept = study.get_value(GPUS_KEY)

    def handed_out(self, number: int) -> None:
        """A segment was handed out; its GPU is not known yet."""
        self._roster.forget_home(number)

    def granted(self, number: int, gpus: str) -> None:
        """A segment has these GPUs, as `search.worker.gpu_names` names them."""
        self._roster.placed(number, gpus, gpus)

    def progressed(self, number: int) -> None:
        """A trial has trained an epoch on its GPU."""
        if self._roster.progressed(number):
            self._keep()

    def takes_blame(self, number: int, outcome: Outcome) -> bool:
        """True if the outcome is counted against the trial's GPU, and another GPU can take the trial."""
        if not outcome.gpu_fault:
            return False
        blamed = self._roster.faulted(number, outcome.cause or outcome.kind) is not None
        self._keep()
        return blamed

    def name(self, number: int) -> str:
        """The GPU of a trial's latest segment, for users."""
        home = self._roster.home(number)
        return home.name if home is not None else "its GPU"

    def excluded(self) -> tuple[str, ...]:
        """Names of the GPUs that get no more trials in this run."""
        return self._roster.excluded_ids()

    def _keep(self) -> None:
        text = json.dumps(self._roster.to_json())
        if text != self._kept:
            self._study.set_value(GPUS_KEY, text)
            self._kept = text
