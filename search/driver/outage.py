"""Faults of files that every trial needs: while one lasts no segment starts, and once it is over the search goes on."""

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
"""Between two looks. Each that ends in the same fault doubles the pause."""


def missing(experiment: Experiment, study: Study, folder: StudyFolder) -> str | None:
    """What this machine lacks of the files that every trial needs, in one line, or None."""
    lacking = (problem.message for problem in experiment.missing_files())
    return next(chain(lacking, problems(study, folder)), None)


class Outage:
    """What the driver knows of a passing fault. Not thread-safe; says each thing once.

    Split, photos and weights are looked at from here. Whether a worker has them too only a worker can tell: once
    nothing is wrong here, one segment is handed out, and the others follow when it has got on.
    """

    def __init__(
        self,
        place: Path,
        *,
        minutes: float,
        still_wrong: Callable[[], str | None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """place: the study's folder, for messages. minutes: after which the search gives up.

        still_wrong: what the driver itself finds wrong with those files, in one line, or None.
        """
        self._place = place
        self._minutes = minutes
        self._still_wrong = still_wrong
        self._clock_s = clock_s
        self._since_s: float | None = None
        self._look_at_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._probe: int | None = None
        """The trial whose segment tries it out."""
        self._cause = ""

    def met(self, cause: str, number: int | None = None) -> None:
        """A trial's segment, or the driver itself, could not read or write what all need."""
        is_first = self._since_s is None
        if is_first:
            self._since_s = self._clock_s()
            who = "the search" if number is None else f"trial {number}"
            _log.warning(
                "%s waits: %s: no segment starts until that is mended; after %g minutes the search stops,"
                " to be resumed",
                who,
                cause,
                self._minutes,
            )
        self._cause = cause
        if is_first or (number is not None and number == self._probe):
            self._wait()

    def lasts(self) -> bool:
        """True where no segment may start now."""
        if self._since_s is None:
            return False
        if self._probe is not None or self._clock_s() < self._look_at_s:
            return True
        wrong = self._still_wrong()
        if wrong is not None:
            self._cause = wrong
            self._look_at_s = self._clock_s() + _FIRST_PAUSE_S
        return wrong is not None

    def began(self, number: int) -> None:
        """A trial's segment was handed out."""
        if self._since_s is not None:
            self._probe = number

    def ended(self, number: int) -> None:
        """A trial's segment ended. Without an epoch nothing is known, and another one is to try."""
        if number == self._probe:
            self._wait()

    def got_on(self, number: int) -> None:
        """A trial had all that it needed. Over for all, if it is the one that tries it out."""
        if number == self._probe:
            self._since_s = self._probe = None
            self._pause_s = _FIRST_PAUSE_S
            _log.info("%s: what was missing is back, the search goes on", self._place)

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """What the driver does itself in the study's folder: a fault that may pass is met, and the rest left out."""
        try:
            yield
        except OSError as error:
            away = unreachable_cause(error)
            if away is None:
                raise
            self.met(f"{away.filename or self._place}: {away.strerror}")

    @property
    def why_stop(self) -> str | None:
        """A reason to end this run of the search; None as long as waiting makes sense."""
        if self._since_s is None or self._probe is not None or self._clock_s() - self._since_s < 60 * self._minutes:
            return None
        return f"{self._cause}: so for {self._minutes:g} minutes"

    def _wait(self) -> None:
        self._probe = None
        self._look_at_s = self._clock_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
