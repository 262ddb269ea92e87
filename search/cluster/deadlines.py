"""How long a running trial may say nothing, from the epochs that its own worker had, and who notices."""

import time
from collections.abc import Callable, Sequence

from carcls.events import EpochReport
from search.experiment.settings import DeadlineSettings

_DRIVER_FACTOR = 2.0
_DRIVER_MORE_S = 60.0
"""The worker notices first, and ends its child alone; the driver ends the worker itself where that one is stuck."""


def patience_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """Seconds without a word after which a worker is taken for stuck. Pure.

    reports: those of this attempt, in order: another node, or another stage, has another pace. The first epoch of a
    stage or an attempt compiles, and may build what the store lacks.
    """
    slowest_s = settings.epoch_factor * max((report.seconds.total for report in reports), default=0.0)
    if not reports or reports[-1].stage_ended:
        return max(60 * settings.first_epoch_minutes, slowest_s)
    stage = [report.seconds.total for report in reports if report.stage == reports[-1].stage]
    return max(60 * settings.shortest_minutes, settings.epoch_factor * max(stage))


def driver_patience_s(reports: Sequence[EpochReport], settings: DeadlineSettings) -> float:
    """The same for the driver: long enough for the worker to have noticed and told. Pure."""
    return _DRIVER_FACTOR * patience_s(reports, settings) + _DRIVER_MORE_S


class Deadline:
    """One attempt's clock: set back by each message."""

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
        self._heard_s = clock_s()

    def heard(self, report: EpochReport | None) -> None:
        """A message came; None where it is no epoch."""
        if report:
            self._reports.append(report)
        self._heard_s = self._clock_s()

    @property
    def left_s(self) -> float:
        """Seconds until it is taken for stuck; 0 once it is."""
        return max(0.0, self._heard_s + self._limit_s - self._clock_s())

    @property
    def cause(self) -> str:
        """One line for the study: how long nothing came, and by which setting that was too long."""
        by = "first_epoch_minutes" if not self._reports or self._reports[-1].stage_ended else "epoch_factor"
        return f"no report within {self._limit_s:.0f} s (search.deadline.{by}): it was taken for stuck and ended"

    @property
    def _limit_s(self) -> float:
        return self._patience_s(self._reports, self._settings)
