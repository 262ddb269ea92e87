"""TensorBoard's event files of a study, one run for each trial. Written only by the driver."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from carcls.events import EpochReport
from search.policy.records import TrialRecord, TrialState
from search.progress.event_files import EventLog, read_events
from search.study.folder import StudyFolder

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class TensorBoardWriter:
    """The event files of a study: one run per trial, in `<results_folder>/trials/<nnnn>/`."""

    def __init__(self, results_folder: Path, *, prefix: str = "", clock_s: Callable[[], float] = time.time) -> None:
        """prefix: of each trial's name in the HParams table, which may show several studies of one folder.

        clock_s: Unix time in seconds.
        """
        self._folder = StudyFolder(results_folder)
        self._prefix = prefix
        self._clock_s = clock_s
        self._logs: dict[int, EventLog] = {}

    def trial_started(self, number: int, params: Mapping[str, object]) -> None:
        """Adds the trial's row to the HParams table; may be called again for a resumed trial."""
        self._log(number).start(f"{self._prefix}{number:04d}", params)

    def epoch(self, number: int, report: EpochReport) -> None:
        """Adds one point to each of the trial's curves."""
        self._log(number).epoch(report)

    def trial_ended(self, record: TrialRecord) -> None:
        """Writes the trial's metrics and, unless it is only paused, its end: TensorBoard keeps the first end."""
        log = self._log(record.number)
        if record.state in _ENDED:
            log.end(record.best, failed=record.state is TrialState.FAIL)
        elif record.best:
            log.best(record.best)

    def catch_up(self, record: TrialRecord) -> None:
        """Writes the events of a trial that its event files lack.

        A killed driver may not have written them, and epochs may have been rolled back after checkpoints were lost.
        """
        if not record.attempts:
            return
        written = read_events(self._folder.trial(record.number))
        if not written.started:
            self.trial_started(record.number, record.params)
        if missing := record.fallbacks[written.fallbacks :]:
            for epoch in missing:
                self._log(record.number).roll_back(epoch)
            written = read_events(self._folder.trial(record.number))
        for report in record.reports:
            if report.epoch not in written.epochs:
                self.epoch(record.number, report)
        if record.state in _ENDED and not written.ended:
            self.trial_ended(record)

    def close(self) -> None:
        """Later calls open new files. There is nothing to flush."""
        self._logs.clear()

    def _log(self, number: int) -> EventLog:
        return self._logs.setdefault(number, EventLog(self._folder.trial(number), clock_s=self._clock_s))
