"""Trains segments of a study whose node shares no folder with the driver, but a bucket.

An epoch is reported once its checkpoint is in the bucket, so that every recorded epoch can be resumed on any node.
"""

import contextlib
import logging
import platform
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeVar

from carcls.errors import DataError
from carcls.events import EpochReport
from carcls.system.atomic import is_full_disk, unreachable_cause
from search.errors import StudyError
from search.experiment.node_store import study_on_node
from search.experiment.settings import StoreSettings
from search.study.bucket.bucket import Bucket
from search.study.bucket.node_copy import NodeCopy, TrialCopy
from search.study.folder import StudyFolder
from search.worker.pseudo_job import PseudoJob
from search.worker.segment import Message, Notice, Outcome, Segment

_FIRST_WAIT_S = 120.0
"""How long a node waits for a bucket that it has never read: the fault is probably the node's."""
_PAUSE_S = 5.0

Run = Callable[[Segment, Callable[[], None]], Generator[Message, None, None]]
"""Trains a segment whose study is a folder. The second argument is called several times a second meanwhile."""

_Result = TypeVar("_Result")


def begun_study(url: str, settings: StoreSettings) -> NodeCopy:
    """The study's own files on this node, from the bucket, in which this node can write.

    Raises DataError for a URL that cannot be used, StudyError and OSError.
    """
    study = NodeCopy(Bucket(url), StudyFolder(study_on_node(url, settings)))
    if not study.is_known:
        study.try_out()
    study.fetch()
    return study


def access_problem(url: str, error: Exception) -> str:
    """Why a node cannot use the bucket, as a clause."""
    cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
    named = cause if url in cause else f"{url}: {cause}"
    return f"{named} (every node must read and write the study there: credentials, server, network)"


def stored_messages(segment: Segment, run: Run) -> Generator[Message, None, None]:
    """The messages of `run`, for a segment whose study is a URL.

    A bucket that is away is waited for, up to `Segment.wait_minutes`; a notice tells of that, and others, which are not
    shown, that the worker lives. Then the outcome is `unavailable`, or `unfit` if this node has never read the bucket.
    """
    bucket = _Patience(segment)
    try:
        trial = yield from bucket.call(lambda: _begun(segment), first=True)
    except (OSError, DataError, StudyError) as error:
        yield bucket.outcome(error)
        return
    local = replace(segment, study=str(bucket.folder.root))
    reports: list[EpochReport] = []
    try:
        with contextlib.closing(run(local, trial.store_parts)) as messages:
            for message in messages:
                if isinstance(message, EpochReport):
                    try:
                        yield from bucket.call(lambda: trial.store(parts=False))
                    except OSError as error:
                        yield bucket.outcome(error)
                        return
                elif isinstance(message, Outcome):
                    yield from _last_files(trial, segment)
                yield message
                if isinstance(message, EpochReport):  # the caller has come back, so the driver has recorded it
                    reports.append(message)
                    trial.drop(_unneeded(reports))
    finally:
        trial.remove()


def _begun(segment: Segment) -> TrialCopy:
    study = begun_study(segment.study, StoreSettings.model_validate(segment.store))
    trial = TrialCopy(study, segment.number, segment.attempt)
    teachers = PseudoJob.from_json(segment.pseudo).teachers if segment.pseudo else ()
    trial.fetch((number, report.best_weights) for number, report in teachers)
    return trial


def _last_files(trial: TrialCopy, segment: Segment) -> Generator[Message, None, None]:
    """Stores what is left at a segment's end: its output, and the part of an epoch that was saved."""
    try:
        trial.store(parts=True)
    except OSError as error:
        yield Notice(logging.WARNING, f"trial {segment.number}: its last output is lost: {error.strerror}")


def _unneeded(reports: list[EpochReport]) -> set[str]:
    """Checkpoints of a segment's epochs, besides those of the last two."""
    kept = {name for report in reports[-2:] for name in (report.checkpoint, report.best_weights)}
    return {name for report in reports[:-2] for name in (report.checkpoint, report.best_weights)} - kept


class _Patience:
    """Waits for the bucket of one segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.folder = StudyFolder(study_on_node(segment.study, StoreSettings.model_validate(segment.store)))
        self._is_new = not self.folder.split.is_file()

    def call(self, action: Callable[[], _Result], *, first: bool = False) -> Generator[Message, None, _Result]:
        """The result of `action`, tried again while the bucket is away. Raises its OSError after the wait.

        first: whether a node that does not know the study waits for `_FIRST_WAIT_S` only.
        """
        limit_s, began_s = 60 * self._segment.wait_minutes, time.monotonic()
        if first and self._is_new:
            limit_s = min(limit_s, _FIRST_WAIT_S)
        has_waited, where = False, f"{platform.node()}, trial {self._segment.number}"
        while True:
            try:
                result = action()
            except OSError as error:
                waited_s = time.monotonic() - began_s
                if unreachable_cause(error) is None or waited_s >= limit_s:
                    raise
                if has_waited:
                    yield Notice(logging.DEBUG, f"{where}: has waited {waited_s:.0f} s for {self._segment.study}")
                else:
                    yield Notice(
                        logging.WARNING,
                        f"{where}: waits for {self._segment.study}, for {limit_s / 60:g} minutes at most:"
                        f" {error.strerror}",
                    )
                has_waited = True
                time.sleep(min(_PAUSE_S, limit_s))  # a bucket sends no event once it is back
            else:
                if has_waited:
                    yield Notice(logging.INFO, f"{where}: {self._segment.study} is back")
                self._is_new = False
                return result

    def outcome(self, error: Exception) -> Outcome:
        """What an error means for the segment: a full disk, a node that is unfit, or a bucket that is away."""
        if is_full_disk(error):
            return Outcome("disk_full", str(error))
        return Outcome("unfit" if self._is_new else "unavailable", access_problem(self._segment.study, error))
