"""The failure streak of a search, kept in the study across drivers, and when it stops the search."""

import json
from dataclasses import asdict

from search.policy.failures import NO_CAUSE, NO_FAILURES, Streak, extended, to_retry, why_stop
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome

_KEY = "failures_in_a_row"
"""Key of the study's value."""


class FailureStreak:
    """Counts consecutive failures for one reason. Not thread-safe."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self._study = study
        self._folder = folder
        self._streak = self._kept = _read(study)
        self._stopped_by: Streak | None = None

    def blames_configuration(self, outcome: Outcome) -> bool:
        """True for outcomes that the sampler should learn from: NaN, and too little memory for the smallest batch."""
        return outcome.kind in ("infeasible", "out_of_memory")

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """Count a trial's ended segment. Returns why the search should stop, as a clause for its user, or None.

        When the search stops, the trials of the streak wait again, see `to_retry`. So do trials that fail for the same
        reason while the search ends.
        """
        del outcome  # The record holds the result.
        record = self._study.record(number)
        if record.state is TrialState.FAIL and not record.infeasible:
            self._streak = extended(self._streak, record.cause or NO_CAUSE)
        elif record.state in (TrialState.PAUSED, TrialState.COMPLETE):
            self._streak = NO_FAILURES
        why = why_stop(self._streak, self._study.records())
        if why:
            self._stopped_by = self._streak
        if self._stopped_by:
            for one in to_retry(self._stopped_by, self._study.records()):
                self._study.retry(one)
        # A resumed search starts with a new streak.
        self._keep(NO_FAILURES if self._stopped_by else self._streak)
        return f"{why}; see {self._folder.root / (record.traceback or '')}. Fix it first" if why else None

    def _keep(self, streak: Streak) -> None:
        if streak != self._kept:
            self._study.set_value(_KEY, json.dumps(asdict(streak)))
            self._kept = streak


def _read(study: Study) -> Streak:
    text = study.get_value(_KEY)
    return Streak(**json.loads(text)) if isinstance(text, str) else NO_FAILURES
