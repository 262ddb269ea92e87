"""Outages of files that every trial needs. No segment starts during an outage; afterwards the search continues."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from carcls.system.atomic import unreachable_cause
from search.experiment.experiment import Experiment
from search.study.checked_files import problems
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
"""Pause between two probes. Each probe that fails doubles it."""


def missing(experiment: Experiment, study: Study, folder: StudyFolder) -> str | None:
    """One line on the first file that every trial needs and this machine cannot read, or None."""
    lacking = (problem.message for problem in experiment.missing_files())
    return next(chain(lacking, problems(study, folder)), None)


class Outage:
    """Tracks an outage for the driver. Not thread-safe. Logs each message once.

    The driver checks split, photos and weights itself. Only a worker can tell whether they are there on its node too,
    so once the driver's check succeeds, it hands out one segment as a probe. Others follow when the probe has made
    progress.
    """

    def __init__(
        self,
        place: Path,
        *,
        minutes: float,
        still_wrong: Callable[[], str | None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """place: the study's folder, for messages. minutes: the search stops after an outage of this length.

        still_wrong: returns what the driver itself finds wrong with the files, in one line, or None.
        """
        self._place = place
        self._minutes = minutes
        self._still_wrong = still_wrong
        self._clock_s = clock_s
        self._since_s: float | None = None
        self._probe_at_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._probe: int | None = None
        """Number of the trial whose segment is the probe, or None."""
        self._cause = ""

    def record_fault(self, cause: str, number: int | None = None) -> None:
        """Record that a trial's segment, or the driver itself, could not read or write a file that all trials need."""
        is_first = self._since_s is None
        if is_first:
            self._since_s = self._clock_s()
            who = "the search" if number is None else f"trial {number}"
            _log.warning(
                "%s waits: %s: no segment starts until that is fixed; after %g minutes the search stops and can be"
                " resumed",
                who,
                cause,
                self._minutes,
            )
        self._cause = cause
        if is_first or (number is not None and number == self._probe):
            self._wait()

    def is_active(self) -> bool:
        """True if no segment may start now."""
        if self._since_s is None:
            return False
        if self._probe is not None or self._clock_s() < self._probe_at_s:
            return True
        wrong = self._still_wrong()
        if wrong is not None:
            self._cause = wrong
            self._probe_at_s = self._clock_s() + _FIRST_PAUSE_S
        return wrong is not None

    def segment_started(self, number: int) -> None:
        """A trial's segment was handed out. During an outage it is the probe."""
        if self._since_s is not None:
            self._probe = number

    def segment_ended(self, number: int) -> None:
        """A trial's segment ended. A probe that ended without an epoch proves nothing, so another one follows."""
        if number == self._probe:
            self._wait()

    def segment_progressed(self, number: int) -> None:
        """A trial's segment had all the files that it needs. If it is the probe, the outage is over."""
        if number == self._probe:
            self._since_s = self._probe = None
            self._pause_s = _FIRST_PAUSE_S
            _log.info("%s: the missing files are back, the search continues", self._place)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within this context, the driver works in the study's folder. An OSError that may pass is recorded as an
        outage, and the rest of the block is skipped."""
        try:
            yield
        except OSError as error:
            away = unreachable_cause(error)
            if away is None:
                raise
            self.record_fault(f"{away.filename or self._place}: {away.strerror}")

    @property
    def why_stop(self) -> str | None:
        """Why this run should stop waiting, or None."""
        if self._since_s is None or self._probe is not None or self._clock_s() - self._since_s < 60 * self._minutes:
            return None
        return f"{self._cause}, for {self._minutes:g} minutes"

    def _wait(self) -> None:
        self._probe = None
        self._probe_at_s = self._clock_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
