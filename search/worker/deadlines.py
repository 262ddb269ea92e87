"""How long a running trial may be silent before it counts as stuck, derived from its worker's own epochs."""

import time
from collections.abc import Callable, Sequence

from carcls.events import EpochReport
from search.experiment.search_settings import DeadlineSettings

_DRIVER_FACTOR = 2.0
_DRIVER_MARGIN_S = 60.0
"""The worker times out first and kills only its child. The driver kills the worker if the worker itself is stuck."""

_LONGEST_TICK_S = 5.0
"""The most that one check adds to the silence. Checks come several times a second. A longer gap means that the watcher
was suspended (Ctrl-Z, a paused container or machine), and perhaps the worker with it."""


def timeout_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """Seconds of silence after which a worker counts as stuck. Pure.

    reports: of this attempt, in order, because another node or stage has another pace. The first epoch of a stage or
    an attempt compiles, and may build what the store lacks.
    """
    return max(_terms_s(reports, settings).values())


def deciding_setting(reports: Sequence[EpochReport], settings: DeadlineSettings) -> str:
    """Name of the setting that determines `timeout_s`. Pure."""
    terms_s = _terms_s(reports, settings)
    return max(terms_s, key=lambda name: terms_s[name])


def _terms_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> dict[str, float]:
    """Timeout by setting; the longest counts."""
    if not reports or reports[-1].stage_ended:
        slowest_s = max((report.seconds.total for report in reports), default=0.0)
        least = {"first_epoch_minutes": 60 * settings.first_epoch_minutes}
    else:
        slowest_s = max(report.seconds.total for report in reports if report.stage == reports[-1].stage)
        least = {"shortest_minutes": 60 * settings.shortest_minutes}
    return {**least, "epoch_factor": settings.epoch_factor * slowest_s}


def driver_timeout_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """The driver's timeout in seconds, long enough for the worker to time out and report first. Pure."""
    return _DRIVER_FACTOR * timeout_s(reports, settings) + _DRIVER_MARGIN_S


class Deadline:
    """Measures the silence of one attempt. Each message resets it; time the watcher was suspended does not count."""

    def __init__(
        self,
        settings: DeadlineSettings,
        *,
        timeout_s: Callable[[Sequence[EpochReport], DeadlineSettings], float] = timeout_s,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._patience_s = timeout_s
        self._clock_s = clock_s
        self._reports: list[EpochReport] = []
        self._looked_s = clock_s()
        self._silent_s = 0.0

    def received(self, report: EpochReport | None) -> None:
        """Resets the silence after a message. report: the message's epoch, or None if it has none."""
        if report:
            self._reports.append(report)
        self._looked_s = self._clock_s()
        self._silent_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the attempt counts as stuck, or 0. Read it often: each read is one check of the clock."""
        now_s = self._clock_s()
        self._silent_s += min(now_s - self._looked_s, _LONGEST_TICK_S)
        self._looked_s = now_s
        return max(0.0, self._limit_s - self._silent_s)

    @property
    def setting(self) -> str:
        """Key of the setting that determines the limit."""
        return f"search.deadline.{deciding_setting(self._reports, self._settings)}"

    @property
    def cause(self) -> str:
        """One line for the study: the limit that was exceeded, and its setting."""
        return f"no report within {self._limit_s:.0f} s ({self.setting}): killed as stuck"

    @property
    def _limit_s(self) -> float:
        return self._patience_s(self._reports, self._settings)
