"""Policy and study behind Ray Tune's Searcher and TrialScheduler: thin, no decision of their own.

One Ray trial is one segment of ours. Ray's scheduler is first-in first-out and never stops or pauses anything;
promotion and recovery are segments that the searcher hands out. Tune calls both from one thread, the scheduler first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from carcls.events import EpochReport
from search.driver.dispatch import Dispatcher
from search.driver.inbox import Inbox
from search.experiment.settings import DeadlineSettings
from search.worker.deadlines import Deadline, driver_patience_s
from search.worker.segment import LOST, Message, Outcome, Segment, from_wire


class _NotSaved:
    """Tune pickles searcher and scheduler into snapshots that nothing ever reads: the study is the truth."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


_OVER = (Trial.ERROR, Trial.TERMINATED)


@dataclass
class Board:
    """What searcher and scheduler know together of the segments under way, by Tune's id of their trials."""

    running: dict[str, int] = field(default_factory=dict)
    """Number of the trial whose segment it is."""
    trials: dict[str, Trial] = field(default_factory=dict)
    deadlines: dict[str, Deadline] = field(default_factory=dict)
    """Of those that have begun."""
    causes: dict[str, Outcome] = field(default_factory=dict)
    """What Ray said of lost workers, and we of stuck ones and of those whose time is up."""
    stopped: set[str] = field(default_factory=set)
    """Told to end with the epoch that they had just reported: nothing has become of them, they go on another time."""

    error: Exception | None = None
    """What became of a segment could not be recorded: the search must not go on as if nothing were the matter."""

    def raise_if_failed(self) -> None:
        """Wherever Tune lets an error through."""
        if self.error is not None:
            raise self.error

    def forget(self, trial_id: str) -> Outcome:
        """It is over; what is known of its worker's end."""
        self.trials.pop(trial_id, None)
        self.deadlines.pop(trial_id, None)
        return self.causes.pop(trial_id, LOST)


def adapters(
    dispatcher: Dispatcher[Segment],
    *,
    concurrent: int,
    deadline: DeadlineSettings,
    raise_if_due: Callable[[], None] = lambda: None,
) -> "tuple[SegmentSearcher, RecordingScheduler]":
    """Searcher and scheduler for one `Tuner`. `raise_if_due`: called between any two of its steps, and may end it."""
    board = Board()
    return (
        SegmentSearcher(dispatcher, board, concurrent, raise_if_due),
        RecordingScheduler(dispatcher, board, deadline, raise_if_due),
    )


class SegmentSearcher(_NotSaved, Searcher):
    """Hands out segments as Tune asks for trials, and hears when they end.

    It counts those under way itself: Tune's own `max_concurrent_trials` would go on counting one that Tune lost.
    """

    def __init__(
        self, dispatcher: Dispatcher[Segment], board: Board, concurrent: int, raise_if_due: Callable[[], None]
    ) -> None:
        super().__init__()  # no metric: Tune would look for it in every message, and the policy ranks by its own
        self._dispatcher = dispatcher
        self._board = board
        self._concurrent = concurrent
        self._raise_if_due = raise_if_due

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next segment; None while something that runs may change the answer; FINISHED at the search's end."""
        self._raise_if_due()
        self._find_lost()
        self._board.raise_if_failed()
        if len(self._board.running) >= self._concurrent and not self._dispatcher.stopping:
            return None
        job = self._dispatcher.next_segment()
        if job == "wait":
            return None
        if job == "finished":
            return str(Searcher.FINISHED)
        self._board.running[trial_id] = job.number
        return {"segment": job.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the dispatcher what became of the segment; no outcome in the last result: its worker is gone."""
        number = self._board.running.pop(trial_id, None)
        if number is None:
            return
        message = None if error else from_wire(result or {})
        known = self._board.forget(trial_id)
        if trial_id in self._board.stopped:
            return
        try:
            self._dispatcher.segment_ended(number, message if isinstance(message, Outcome) else known)
        except Exception as failure:  # noqa: BLE001 - Tune would print it and go on, and the trial be waited for for ever
            self._board.error = self._board.error or failure

    def _find_lost(self) -> None:
        """Trials that Tune has ended without a word to anybody, as where an actor could not be used again."""
        for trial_id in list(self._board.running):
            trial = self._board.trials.get(trial_id)
            if trial is not None and trial.status in _OVER:
                self.on_trial_complete(trial_id, error=True)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study is the truth."""


class RecordingScheduler(_NotSaved, FIFOScheduler):
    """First in, first out; each report goes into the study before the worker may go on."""

    def __init__(
        self,
        dispatcher: Dispatcher[Segment],
        board: Board,
        deadline: DeadlineSettings,
        raise_if_due: Callable[[], None],
    ) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._board = board
        self._settings = deadline
        self._raise_if_due = raise_if_due
        self._inbox = Inbox(dispatcher)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Tune has made a trial of a segment."""
        self._board.trials[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401 - Tune's controller
        """Asked in each of Tune's steps, ten times a second: the place to end what is stuck."""
        self._raise_if_due()
        self._board.raise_if_failed()
        for trial_id, trial in self._board.trials.items():
            if trial.status == Trial.RUNNING:
                self._end_if_stuck(trial_id, trial)
        return super().choose_trial_to_run(tune_controller)

    def _end_if_stuck(self, trial_id: str, trial: Trial) -> None:
        deadline = self._board.deadlines.setdefault(trial_id, Deadline(self._settings, patience_s=driver_patience_s))
        actor = trial.temporary_state.ray_actor
        if deadline.left_s or trial_id in self._board.causes or actor is None:
            return
        self._board.causes[trial_id] = Outcome("killed", deadline.cause)
        ray.kill(actor)  # Tune hears of it by the call that it waits for

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Keeps Ray's words for the searcher, who is told next, but without them."""
        error = trial.get_error()
        if error is not None:
            self._board.causes.setdefault(trial.trial_id, Outcome("killed", str(error).strip().splitlines()[-1]))

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Records an epoch. A segment ends by itself at its rung; only where the search stops, or its hours are
        used up, is it stopped before."""
        message = from_wire(result)
        self._heard(trial, message)
        if message is None or isinstance(message, Outcome):
            return str(TrialScheduler.CONTINUE)
        answer = self._inbox.take(trial.config["segment"]["number"], message)
        if answer == "stop":
            self._board.stopped.add(trial.trial_id)
        if answer == "out of time":
            self._board.causes[trial.trial_id] = Outcome("out_of_time")
        return str(TrialScheduler.CONTINUE if answer == "go on" else TrialScheduler.STOP)

    def _heard(self, trial: Trial, message: Message | None) -> None:
        deadline = self._board.deadlines.get(trial.trial_id)
        if deadline is not None:
            deadline.heard(message if isinstance(message, EpochReport) else None)
