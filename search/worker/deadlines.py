"""How long a running trial may say nothing, from the epochs that its own worker had, and who notices."""

import time
from collections.abc import Callable, Sequence

from carcls.events import EpochReport
from search.experiment.settings import DeadlineSettings

_DRIVER_FACTOR = 2.0
_DRIVER_MORE_S = 60.0
"""The worker notices first, and ends its child alone; the driver ends the worker itself where that one is stuck."""


_LONGEST_TICK_S = 5.0
"""What one look at a clock adds at most. Whoever listens looks several times a second; where it did not, for this much
longer, it lay still itself (Ctrl-Z, a paused container or machine), and whom it listens to may have too."""


def patience_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """Seconds without a word after which a worker is taken for stuck. Pure.

    reports: those of this attempt, in order: another node, or another stage, has another pace. The first epoch of a
    stage or an attempt compiles, and may build what the store lacks.
    """
    return max(_terms_s(reports, settings).values())


def deciding(reports: Sequence[EpochReport], settings: DeadlineSettings) -> str:
    """Name of the setting by which `patience_s` is as long as it is. Pure."""
    terms_s = _terms_s(reports, settings)
    return max(terms_s, key=lambda name: terms_s[name])


def _terms_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> dict[str, float]:
    """By setting, how long it lets a worker say nothing; the longest counts."""
    if not reports or reports[-1].stage_ended:
        slowest_s = max((report.seconds.total for report in reports), default=0.0)
        least = {"first_epoch_minutes": 60 * settings.first_epoch_minutes}
    else:
        slowest_s = max(report.seconds.total for report in reports if report.stage == reports[-1].stage)
        least = {"shortest_minutes": 60 * settings.shortest_minutes}
    return {**least, "epoch_factor": settings.epoch_factor * slowest_s}


def driver_patience_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """The same for the driver: long enough for the worker to have noticed and told. Pure."""
    return _DRIVER_FACTOR * patience_s(reports, settings) + _DRIVER_MORE_S


class Deadline:
    """One attempt's clock: set back by each message, and moved on by each look, so that time in which nobody looked
    counts as `_LONGEST_TICK_S` at most."""

    def __init__(
        self,
        settings: DeadlineSettings,
        *,
        patience_s: Callable[[Sequence[EpochReport], DeadlineSettings], float] = patience_s,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._clock_s = clock_s
        self._reports: list[EpochReport] = []
        self._looked_s = clock_s()
        self._silent_s = 0.0

    def heard(self, report: EpochReport | None) -> None:
        """A message came; None where it is no epoch."""
        if report:
            self._reports.append(report)
        self._looked_s = self._clock_s()
        self._silent_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until it is taken for stuck; 0 once it is. To be asked again and again: each time is a look."""
        now_s = self._clock_s()
        self._silent_s += min(now_s - self._looked_s, _LONGEST_TICK_S)
        self._looked_s = now_s
        return max(0.0, self._limit_s - self._silent_s)

    @property
    def setting(self) -> str:
        """The key by which the limit is what it is."""
        return f"search.deadline.{deciding(self._reports, self._settings)}"

    @property
    def cause(self) -> str:
        """One line for the study: how long nothing came, and by which setting that was too long."""
        return f"no report within {self._limit_s:.0f} s ({self.setting}): killed as stuck"

    @property
    def _limit_s(self) -> float:
        return self._patience_s(self._reports, self._settings)
