"""Connects the dispatcher to Ray Tune as a Searcher and a TrialScheduler, which decide nothing themselves.

One Tune trial is one of our segments. The scheduler is first-in first-out and never pauses a trial; promotions and
retries are new segments from the searcher. Tune calls both from one thread, the scheduler first.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from carcls.events import EpochReport
from search.driver.dispatch import Dispatcher
from search.driver.inbox import Inbox
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.cluster.places import ANY_PLACE, AVOID, Places
from search.on_ray.ray_errors import lost_outcome
from search.on_ray.ray_private import actor_of
from search.worker.deadlines import Deadline, driver_timeout_s
from search.worker.segment import LOST, Message, Outcome, Parked, Segment, from_wire


class _NotSaved:
    """Pickles as nothing: Tune saves searcher and scheduler in snapshots that are never read; the study has it all."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


NOTHING_MORE: Mapping[str, Any] = {}
STRANDED = Outcome("preempted", "the nodes that it waited for have left")
NOT_BEGUN = Outcome("preempted", "it waited for a place when the search was asked to end")
_OVER = (Trial.ERROR, Trial.TERMINATED)


@dataclass(frozen=True, slots=True)
class Loss:
    """A segment whose actor was lost, until it is known why."""

    actor: Any
    """The actor, or None if none had started."""
    outcome: Outcome
    """In Ray's own words."""
    since_s: float


@dataclass
class RunningSegments:
    """The segments that run now, by Tune's trial id; shared by searcher and scheduler."""

    numbers: dict[str, int] = field(default_factory=dict)
    """Number of the study's trial."""
    trials: dict[str, Trial] = field(default_factory=dict)
    actors: dict[str, Any] = field(default_factory=dict)
    """The latest known actor of each."""
    deadlines: dict[str, Deadline] = field(default_factory=dict)
    """Of segments that have started."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Outcomes not reported by the worker: stuck, moved or out of time."""
    losses: dict[str, Loss] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    """Segments stopped after an epoch because the run stops. They have no outcome, and resume in a later run."""
    parked: set[str] = field(default_factory=set)
    """Tune trials without a segment, which occupy GPUs that are left out until the run is over."""
    is_over: bool = False
    """True once no further segment is handed out."""

    error: Exception | None = None
    """Why an outcome could not be recorded, which must end the search."""

    def raise_if_failed(self) -> None:
        """Raises `error`, if any. Call it where Tune propagates exceptions."""
        if self.error is not None:
            raise self.error

    def remove(self, trial_id: str) -> Outcome:
        """Removes a segment that has ended, and returns the outcome to use if the worker reported none."""
        self.trials.pop(trial_id, None)
        self.actors.pop(trial_id, None)
        self.losses.pop(trial_id, None)
        self.deadlines.pop(trial_id, None)
        return self.outcomes.pop(trial_id, LOST)


def tune_adapters(
    dispatcher: Dispatcher[Segment],
    *,
    concurrent: Callable[[], int],
    deadline: DeadlineSettings,
    raise_if_due: Callable[[], None] = lambda: None,
    hands_over: Callable[[], bool] = lambda: False,
    places: Places = ANY_PLACE,
    more: Mapping[str, Any] = NOTHING_MORE,
    clock_s: Callable[[], float] = time.monotonic,
) -> "tuple[SegmentSearcher, RecordingScheduler]":
    """Searcher and scheduler for one `Tuner`.

    concurrent: how many segments may be handed out now. raise_if_due: called between its steps; may raise to end the
    run. hands_over: True once running segments save their state and end. places: what the cluster says of the
    segments' nodes. more: entries of every Tune trial's configuration.
    """
    segments = RunningSegments()
    seen: dict[str, Any] = {"places": places, "clock_s": clock_s}
    searcher = SegmentSearcher(
        dispatcher, segments, concurrent=concurrent, raise_if_due=raise_if_due, more=more, **seen
    )

    def between_steps() -> None:
        raise_if_due()
        searcher.find_lost()

    return searcher, RecordingScheduler(
        dispatcher, segments, deadline=deadline, raise_if_due=between_steps, hands_over=hands_over, **seen
    )


class SegmentSearcher(_NotSaved, Searcher):
    """Supplies segments when Tune asks for trials, and records their outcomes.

    It limits concurrency itself: Tune's own `max_concurrent_trials` keeps counting trials that Tune has lost.
    """

    def __init__(
        self,
        dispatcher: Dispatcher[Segment],
        segments: RunningSegments,
        *,
        concurrent: Callable[[], int],
        raise_if_due: Callable[[], None],
        places: Places,
        more: Mapping[str, Any],
        clock_s: Callable[[], float],
    ) -> None:
        super().__init__()  # without a metric, which Tune would expect in every message
        self._dispatcher = dispatcher
        self._segments = segments
        self._concurrent = concurrent
        self._raise_if_due = raise_if_due
        self._places = places
        self._more = more
        self._clock_s = clock_s

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next segment; None while it depends on running segments; FINISHED at the search's end."""
        self._raise_if_due()
        self.find_lost()
        self._segments.raise_if_failed()
        room = self._concurrent() - len(self._segments.parked)
        if len(self._segments.numbers) >= room and not self._dispatcher.stopping:
            return None
        job = self._dispatcher.next_segment()
        if job == "wait":
            return None
        if job == "finished":
            self._segments.is_over = True
            return str(Searcher.FINISHED)
        self._segments.numbers[trial_id] = job.number
        return {"segment": job.to_json(), AVOID: list(self._places.avoided(job)), **self._more}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Passes the outcome to the dispatcher. Without one in the last result, the worker was lost.

        A loss whose reason is not known yet waits for a later call of `find_lost`, so that no report is delayed.
        """
        number = self._segments.numbers.get(trial_id)
        if number is None:
            return
        loss = self._segments.losses.get(trial_id)
        if loss is not None:
            told = self._places.lost(number, loss.actor, loss.outcome, waited_s=self._clock_s() - loss.since_s)
            if told is None:
                return
            self._segments.outcomes[trial_id] = told
        del self._segments.numbers[trial_id]
        message = None if error else from_wire(result or {})
        known = self._segments.remove(trial_id)
        if trial_id in self._segments.stopped:
            return
        try:
            self._dispatcher.segment_ended(number, message if isinstance(message, Outcome) else known)
        except Exception as failure:  # noqa: BLE001 - Tune would print it and continue, waiting for the trial forever
            self._segments.error = self._segments.error or failure

    def find_lost(self) -> None:
        """Ends segments whose Tune trial ended without a callback, as when an actor could not be reused, or whose
        actor was lost for a reason that is now known."""
        for trial_id in list(self._segments.numbers):
            trial = self._segments.trials.get(trial_id)
            if trial is not None and trial.status in _OVER:
                self.on_trial_complete(trial_id, error=True)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study holds all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study holds all state."""


class RecordingScheduler(_NotSaved, FIFOScheduler):
    """First in, first out; each report is recorded in the study before the worker continues."""

    def __init__(
        self,
        dispatcher: Dispatcher[Segment],
        segments: RunningSegments,
        *,
        deadline: DeadlineSettings,
        raise_if_due: Callable[[], None],
        hands_over: Callable[[], bool],
        places: Places,
        clock_s: Callable[[], float],
    ) -> None:
        super().__init__()
        self._hands_over = hands_over
        self._clock_s = clock_s
        self._places = places
        self._dispatcher = dispatcher
        self._segments = segments
        self._settings = deadline
        self._raise_if_due = raise_if_due
        self._inbox = Inbox(dispatcher)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Keeps the Tune trial of a segment."""
        self._segments.trials[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401 - Tune's controller
        """Kills stuck workers first: Tune calls this in each of its steps, ten times a second."""
        self._raise_if_due()
        self._segments.raise_if_failed()
        for trial_id, trial in self._segments.trials.items():
            in_vain = self._waits_in_vain(trial)
            if in_vain is not None:
                self._segments.outcomes.setdefault(trial_id, in_vain)
                tune_controller.request_stop_trial(trial)
            if trial.status == Trial.RUNNING:
                self._segments.actors[trial_id] = actor_of(trial)
                self._kill_if_stuck(trial_id, trial)
        return super().choose_trial_to_run(tune_controller)

    def _waits_in_vain(self, trial: Trial) -> Outcome | None:
        """The outcome of a segment that waits for a place which it will not get, or None."""
        if trial.status != Trial.PENDING:
            return None
        if self._hands_over():
            return NOT_BEGUN
        return STRANDED if self._places.is_stranded(trial.config[AVOID]) else None

    def _kill_if_stuck(self, trial_id: str, trial: Trial) -> None:
        deadline = self._segments.deadlines.setdefault(trial_id, Deadline(self._settings, timeout_s=driver_timeout_s))
        actor = actor_of(trial)
        if deadline.left_s or trial_id in self._segments.outcomes or actor is None:
            return
        self._segments.outcomes[trial_id] = Outcome("killed", deadline.cause)
        ray.kill(actor)  # the call that Tune waits for then fails

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Keeps Ray's error for the searcher, which Tune calls next, but without the error."""
        error = trial.get_error()
        if error is None or trial.trial_id in self._segments.outcomes:
            return
        actor = self._segments.actors.get(trial.trial_id)
        self._segments.losses[trial.trial_id] = Loss(actor, lost_outcome(error), self._clock_s())

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Records a message. A segment ends by itself at its rung; it is stopped earlier only if the search stops or
        its hours are used up."""
        message = from_wire(result)
        self._reset_deadline(trial, message)
        if isinstance(message, Parked):
            return self._park(trial.trial_id, message)
        if message is None or isinstance(message, Outcome):
            return str(TrialScheduler.CONTINUE)
        number = trial.config["segment"]["number"]
        answer = self._inbox.take(number, message)
        if answer == "stop":
            self._segments.stopped.add(trial.trial_id)
        if answer == "out of time":
            self._segments.outcomes[trial.trial_id] = Outcome("out_of_time")
        leaves = self._places.why_leave(number) if answer == "go on" and isinstance(message, EpochReport) else None
        if leaves:
            self._segments.outcomes[trial.trial_id] = Outcome("preempted", leaves)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE if answer == "go on" else TrialScheduler.STOP)

    def _park(self, trial_id: str, message: Parked) -> str:
        """The first time, gives the trial's segment back; its Tune trial stays where it is until the run is over."""
        number = self._segments.numbers.pop(trial_id, None)
        if number is not None:
            self._segments.remove(trial_id)
            self._segments.parked.add(trial_id)
            self._dispatcher.segment_ended(number, Outcome("preempted", f"{message.gpus} gets no more trials"))
        return str(TrialScheduler.STOP if self._segments.is_over else TrialScheduler.CONTINUE)

    def _reset_deadline(self, trial: Trial, message: Message | None) -> None:
        deadline = self._segments.deadlines.get(trial.trial_id)
        if deadline is not None:
            deadline.received(message if isinstance(message, EpochReport) else None)
