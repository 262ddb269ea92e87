"""Trials that found too little memory on one node of a cluster: they go to a node with more, or wait for one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from search.driver.nodes.node_roster import NodeRoster
from search.driver.nodes.oom_records import OomRecords
from search.policy.larger_memory import has_larger
from search.policy.oom import OomRecord
from search.policy.records import TrialRecord, TrialState
from search.study.study import Study
from search.terminal.logs import get_logger
from search.worker.segment import Outcome

_log = get_logger(__name__)


class LargerNodes:
    """Knows which trials wait for a larger node. Takes none on a single machine. Not thread-safe.

    Nothing is stored: a resumed search hands such a trial out once more, and is refused at once.
    """

    def __init__(
        self,
        study: Study,
        roster: NodeRoster,
        known: OomRecords,
        *,
        wait_s: float,
        clock_s: Callable[[], float],
    ) -> None:
        """wait_s: how long a trial waits for a larger node to join."""
        self._study = study
        self._roster = roster
        self._known = known
        self._wait_s = wait_s
        self._clock_s = clock_s
        self._until_s: dict[int, float] = {}
        """When each trial that has found too little memory everywhere gives up."""
        self._refused: dict[int, str] = {}
        """The device that refused it."""

    def take(self, record: TrialRecord, outcome: Outcome) -> bool:
        """True if a trial that ran out of memory is to be tried on a larger node, now or later; False if it has
        failed."""
        number, home = record.number, self._roster.home(record.number)
        if home is None or outcome.oom_record is None:
            return False
        refused = self._refused[number] = OomRecord.from_json(outcome.oom_record).key.device
        self._roster.learned(home.node_id, refused)  # as the trial saw it, which counts more than what a probe saw
        if self._has_larger(record):
            _log.info("trial %d needs more memory than it has on %s: it goes to a larger node", number, home.name)
            return True
        if self._clock_s() >= self._until_s.setdefault(number, self._clock_s() + self._wait_s):
            return False
        minutes = self._wait_s / 60
        _log.info("trial %d has too little memory on every node: it waits %g minutes for a larger one", number, minutes)
        return True

    def held_back(self, records: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
        """The records as the policy should see them: trials that wait for a larger node look as if they ran."""
        held = {number for number, until_s in self._until_s.items() if self._clock_s() < until_s}
        if not held:  # as always on one machine
            return tuple(records)
        waits = {
            one.number
            for one in records
            if one.number in held and one.state is TrialState.WAITING and not self._has_larger(one)
        }
        return tuple(replace(one, state=TrialState.RUNNING) if one.number in waits else one for one in records)

    def _has_larger(self, record: TrialRecord) -> bool:
        if record.stop_after_stage is None:
            return False
        stages = range(record.next_stage or 0, record.stop_after_stage + 1)
        devices, refused = self._roster.devices().values(), self._refused[record.number]
        return has_larger(devices, refused, self._known.all(), self._study.config(record.number), stages)
