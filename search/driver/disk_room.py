"""Keeps checkpoints within their quota, and starts no segment on a full disk."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from carcls.events import EpochReport
from carcls.store.disk import free_bytes
from carcls.training.retention import all_checkpoints
from search.experiment.search_settings import CheckpointSettings
from search.policy.checkpoint_quota import StoredCheckpoint, evictions
from search.policy.disk_space import DiskWatch
from search.policy.records import TrialRecord, TrialState
from search.policy.rungs import Ladder
from search.study.folder import StudyFolder
from search.terminal.logs import get_logger

_log = get_logger(__name__)
_BYTES_PER_MB, _BYTES_PER_GB = 1e6, 1e9


class DiskRoom:
    """Manages the disk space of one study for its driver. Not thread-safe. Logs each message once."""

    def __init__(
        self,
        folder: StudyFolder,
        settings: CheckpointSettings,
        ladder: Ladder,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._ladder = ladder
        self._disk = DiskWatch(folder.root, patience_s=60 * settings.full_disk_minutes, clock_s=clock_s, free=free)
        self._logged_over_quota = False
        for one in self._stored():
            self._disk.wrote(one.size_bytes)

    def wrote(self, number: int, report: EpochReport) -> None:
        """Record that a trial's checkpoint is on disk."""
        size_bytes = _size(self._folder.trial(number) / report.checkpoint)
        if size_bytes is not None:
            self._disk.wrote(size_bytes)

    def refused(self, number: int, cause: str | None) -> None:
        """Record that a trial's segment ended because it found no room."""
        _log.warning("trial %d found no room on a disk and waits: %s", number, cause)
        self._disk.refused()

    def is_short(self, trials: Sequence[TrialRecord]) -> bool:
        """True if no further segment may start now. Logs the beginning and the end of a shortage."""
        was_full, running = self._disk.is_full, sum(trial.state is TrialState.RUNNING for trial in trials)
        shortage = self._disk.shortage(running=running)
        if shortage is not None and not was_full:
            _log.warning(
                "%s: no segment starts until there is room. Delete files there, or set search.checkpoints.quota_gb;"
                " after %g minutes the search stops and can be resumed",
                shortage,
                self._settings.full_disk_minutes,
            )
        if was_full and not self._disk.is_full:
            _log.info("%s: there is room again, the search continues", self._folder.root)
        return shortage is not None

    @property
    def why_stop(self) -> str | None:
        """Why this run should stop waiting for room, or None."""
        if not self._disk.gives_up:
            return None
        return f"the disk of {self._folder.root} has been full for {self._settings.full_disk_minutes:g} minutes"

    def keep_quota(self, trials: Sequence[TrialRecord]) -> None:
        """Delete the least useful checkpoints that exceed the quota, if there is a quota."""
        if self._settings.quota_gb is None:
            return
        quota_bytes = round(self._settings.quota_gb * _BYTES_PER_GB)
        eviction = evictions(trials, self._stored(), self._ladder, quota_bytes=quota_bytes)
        for one in eviction.drop:
            (self._folder.trial(one.number) / one.name).unlink(missing_ok=True)
        if eviction.over_bytes and not self._logged_over_quota:
            self._logged_over_quota = True
            _log.warning(
                "checkpoints that must stay exceed search.checkpoints.quota_gb (%g) by %.1f MB: use a larger quota or"
                " fewer trials at once (search.max_concurrent)",
                self._settings.quota_gb,
                eviction.over_bytes / _BYTES_PER_MB,
            )

    def _stored(self) -> list[StoredCheckpoint]:
        """All checkpoints of the study on disk."""
        found = []
        for folder in sorted(self._folder.trials.glob("[0-9]*")):
            for name in all_checkpoints(folder):
                size_bytes = _size(folder / name)
                if size_bytes is not None and folder.name.isdigit():
                    found.append(StoredCheckpoint(int(folder.name), name, size_bytes))
        return found


def _size(path: Path) -> int | None:
    """Size in bytes, or None if the file is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return None
