"""Policy and study behind Ray Tune's Searcher and TrialScheduler: thin, no decision of their own.

One Ray trial is one segment of ours. Ray's scheduler is first-in first-out and never stops or pauses anything;
promotion and recovery are segments that the searcher hands out. Tune calls both from one thread, the scheduler first.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster.dispatch import Dispatcher
from search.cluster.segment import Notice, Outcome, read_notice, read_outcome, read_report
from search.logs import get_logger

_log = get_logger(__name__)


class _NotSaved:
    """Tune pickles searcher and scheduler into snapshots that nothing ever reads: the study is the truth."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


_LOST = Outcome("killed", "the worker or its node was lost")


def adapters(dispatcher: Dispatcher) -> "tuple[SegmentSearcher, RecordingScheduler]":
    """Searcher and scheduler for one `Tuner`; they share what Ray says of lost workers."""
    causes: dict[str, Outcome] = {}
    return SegmentSearcher(dispatcher, causes), RecordingScheduler(dispatcher, causes)


class SegmentSearcher(_NotSaved, Searcher):
    """Hands out segments as Tune asks for trials, and hears when they end."""

    def __init__(self, dispatcher: Dispatcher, causes: dict[str, Outcome]) -> None:
        super().__init__()  # no metric: Tune would look for it in every message, and the policy ranks by its own
        self._dispatcher = dispatcher
        self._causes = causes
        self._running: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next segment; None while something that runs may change the answer; FINISHED at the search's end."""
        job = self._dispatcher.next_segment()
        if job == "wait":
            return None
        if job == "finished":
            return str(Searcher.FINISHED)
        self._running[trial_id] = job.number
        return {"segment": job.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the dispatcher what became of the segment; no outcome in the last result: its worker is gone."""
        number = self._running.pop(trial_id, None)
        if number is None:
            return
        outcome = None if error else read_outcome(result or {})
        self._dispatcher.segment_ended(number, outcome or self._causes.pop(trial_id, _LOST))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study is the truth."""


class RecordingScheduler(_NotSaved, FIFOScheduler):
    """First in, first out; each report goes into the study before the worker may go on."""

    def __init__(self, dispatcher: Dispatcher, causes: dict[str, Outcome]) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._causes = causes
        self._noticed: set[Notice] = set()

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Keeps Ray's words for the searcher, who is told next, but without them."""
        error = trial.get_error()
        if error is not None:
            self._causes[trial.trial_id] = Outcome("killed", str(error).strip().splitlines()[-1])

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Records an epoch; never stops a trial: a segment ends by itself at its rung."""
        report = read_report(result)
        if report:
            self._dispatcher.report(trial.config["segment"]["number"], report)
        notice = read_notice(result)
        if notice is not None and notice not in self._noticed:  # once, however many trials of a node say the same
            self._noticed.add(notice)
            _log.log(notice.level, "%s", notice.text)
        return str(TrialScheduler.CONTINUE)
