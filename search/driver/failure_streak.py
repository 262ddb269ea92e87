"""Failures in a row, as a study keeps them from one driver to the next, and when there are too many."""

import json
from dataclasses import asdict

from search.policy.failures import NO_CAUSE, NO_FAILURES, Row, one_more, to_try_again, why_stop
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome

_KEY = "failures_in_a_row"
"""Under which the study keeps them."""


class FailureRow:
    """Counts what failed for one reason with nothing between that went well. Not thread-safe."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self._study = study
        self._folder = folder
        self._row = self._kept = _read(study)
        self._stopped_by: Row | None = None

    def blames_configuration(self, outcome: Outcome) -> bool:
        """True for what the sampler should learn from: NaN, and no room for the fewest photos."""
        return outcome.kind in ("infeasible", "out_of_memory")

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """After a trial's segment: why the search should stop, as a clause for its user; None where it should go on.

        The trials that stopped it wait again then, as `to_try_again` says, also those that fail alike after it was
        said, while the search ends.
        """
        del outcome  # the record tells what became of it
        record = self._study.record(number)
        if record.state is TrialState.FAIL and not record.infeasible:
            self._row = one_more(self._row, record.cause or NO_CAUSE)
        elif record.state in (TrialState.PAUSED, TrialState.COMPLETE):
            self._row = NO_FAILURES
        why = why_stop(self._row, self._study.records())
        if why:
            self._stopped_by = self._row
        if self._stopped_by:
            for one in to_try_again(self._stopped_by, self._study.records()):
                self._study.try_again(one)
        # It is said once: a resumed search has as many tries again.
        self._keep(NO_FAILURES if self._stopped_by else self._row)
        return f"{why}; see {self._folder.root / (record.traceback or '')}. Mend it first" if why else None

    def _keep(self, row: Row) -> None:
        if row != self._kept:
            self._study.set_value(_KEY, json.dumps(asdict(row)))
            self._kept = row


def _read(study: Study) -> Row:
    text = study.get_value(_KEY)
    return Row(**json.loads(text)) if isinstance(text, str) else NO_FAILURES
