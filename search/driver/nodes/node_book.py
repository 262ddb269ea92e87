"""Records in the study where each attempt ran and which nodes are at fault, see `NodeRoster`."""

import json

from search.driver.nodes.node_roster import NodeRoster
from search.policy.node_health import NODE_FAULTS
from search.policy.records import TrialRecord, TrialState
from search.study.node_notes import NODES_KEY
from search.study.study import Study
from search.worker.segment import Outcome


class NodeBook:
    """Keeps study and roster together. Does nothing on a single machine, whose roster is empty. Not thread-safe."""

    def __init__(self, study: Study, roster: NodeRoster) -> None:
        self._study = study
        self._roster = roster
        self._kept = study.get_value(NODES_KEY)

    @property
    def is_cluster(self) -> bool:
        """True if the run has nodes."""
        return bool(self._roster.nodes)

    def handed_out(self, number: int) -> None:
        """A segment was handed out; its node is not known yet."""
        self._roster.forget_home(number)
        self._keep()

    def placed(self, number: int, node_id: str, name: str) -> None:
        """Record the node of a segment that has begun."""
        name = self._roster.placed(number, node_id, name)
        if self._study.record(number).state is TrialState.RUNNING:
            self._study.place(number, name)

    def progressed(self, number: int) -> None:
        """A trial has trained an epoch on its node."""
        if self._roster.progressed(number):
            self._keep()

    def takes_blame(self, record: TrialRecord, outcome: Outcome) -> bool:
        """True if the outcome is counted against the trial's node, and another node can take the trial."""
        is_fault = outcome.kind in NODE_FAULTS or (outcome.kind == "doubtful" and record.restarts > 0)
        if not is_fault:
            return False
        blamed = self._roster.faulted(record.number, outcome.cause or outcome.kind) is not None
        self._keep()
        return blamed

    def _keep(self) -> None:
        """Write the nodes' health if it has changed."""
        if not self.is_cluster:
            return
        text = json.dumps(self._roster.to_json())
        if text != self._kept:
            self._study.set_value(NODES_KEY, text)
            self._kept = text
