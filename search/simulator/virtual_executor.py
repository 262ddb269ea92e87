"""An executor with workers on a virtual clock. Recorded or computed curves replace training.

See `search.driver.executor` for the contract. It uses one thread and no processes, and no real time passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from carcls.events import EpochReport, PhaseSeconds
from search.driver.dispatch import Dispatcher
from search.driver.inbox import Inbox
from search.errors import CurvesError
from search.policy.records import TrialRecord
from search.simulator.curves import Curve, CurvePoint
from search.simulator.faults import FaultEvent, Faults
from search.simulator.virtual_clock import VirtualClock
from search.worker.segment import Outcome

DIED = Outcome("killed", "its worker died")
UNTRAINABLE = Outcome("infeasible", "cannot be trained")


class Segment(Protocol):
    """The parts of a segment that a virtual worker reads."""

    @property
    def number(self) -> int:
        """Number of the trial."""
        ...

    @property
    def attempt(self) -> int:
        """Counted from 0."""
        ...

    @property
    def stop_after_stage(self) -> int:
        """Number of the stage at whose end the segment stops."""
        ...


SegmentT = TypeVar("SegmentT", bound=Segment)


@dataclass(slots=True)
class _Work(Generic[SegmentT]):
    """A segment on a worker."""

    segment: SegmentT
    curve: Curve
    fault_at_s: float
    away_s: float


@dataclass(frozen=True, slots=True)
class _Event(Generic[SegmentT]):
    kind: Literal["epoch", "infeasible", "fault", "back"]
    seconds: float
    """Seconds of the worker since its segment's last event."""
    work: _Work[SegmentT] | None
    """None for a worker that comes back."""


class VirtualExecutor(Generic[SegmentT]):
    """Trains one segment on each worker. Each running segment has exactly one pending event."""

    def __init__(
        self,
        clock: VirtualClock[Any],
        *,
        workers: int,
        curve_of: Callable[[SegmentT], Curve],
        seed: int = 0,
        faults: Faults | None = None,
        stop_early: Callable[[int], bool] = lambda number: False,
    ) -> None:
        """seed: seed of the faults. stop_early: prunes a trial at the epoch just recorded if a callback asks for it;
        returns True if it did. Raises ValueError for fewer than one worker."""
        if workers < 1:
            raise ValueError(f"workers: expected 1 or more, found {workers}")
        self._clock: VirtualClock[_Event[SegmentT]] = clock
        self._free = workers
        self._curve_of = curve_of
        self._seed = seed
        self._faults = faults or Faults()
        self._stop_early = stop_early
        self._started = 0
        self.lost_s = 0.0
        """Worker seconds of killed or infeasible epochs."""

    def run(self, dispatcher: Dispatcher[SegmentT]) -> None:
        """See `Executor.run`. Raises ValueError if the dispatcher waits while no segment is running, and CurvesError
        for a curve that ends before its last stage does."""
        inbox = Inbox(dispatcher)
        while self._fill_workers(dispatcher):
            if not self._clock:
                raise ValueError(f"the policy waits while no trial is running, after {self._started} jobs")
            self._handle(self._clock.advance(), dispatcher, inbox)

    def _fill_workers(self, dispatcher: Dispatcher[SegmentT]) -> bool:
        """Hand out segments to free workers. Returns False if nothing is left to do."""
        while self._free:
            segment = dispatcher.next_segment()
            if segment == "wait":
                return True
            if segment == "finished":
                return dispatcher.stopping is not None and bool(self._clock)
            self._start(segment, dispatcher)
        return True

    def _start(self, segment: SegmentT, dispatcher: Dispatcher[SegmentT]) -> None:
        self._started += 1
        self._free -= 1
        fault = self._faults.event(seed=self._seed, number=segment.number, attempt=segment.attempt)
        after = fault or FaultEvent(float("inf"), 0.0)
        work = _Work(segment, self._curve_of(segment), self._clock.now_s + after.after_s, after.away_s)
        self._schedule(work, dispatcher.record(segment.number))

    def _schedule(self, work: _Work[SegmentT], record: TrialRecord) -> None:
        event = self._next_epoch(work, record)
        left_s = work.fault_at_s - self._clock.now_s
        if event.seconds > left_s:
            event = _Event("fault", left_s, work)
        self._clock.after(event.seconds, event)

    def _next_epoch(self, work: _Work[SegmentT], record: TrialRecord) -> _Event[SegmentT]:
        """The next event without a fault. An infeasible epoch takes as long as the one before if not recorded."""
        points, trained = work.curve.points, record.fidelity
        if trained == len(points):
            if not work.curve.infeasible:
                raise CurvesError(
                    f"trial {record.number}: its curve ends at epoch {trained}, before the end of its last stage"
                )
            return _Event("infeasible", points[-1].seconds if points else 0.0, work)
        begins_stage = trained == 0 or record.reports[-1].stage_ended
        fits = not (begins_stage and self._faults.out_of_memory(work.curve.params, points[trained].stage))
        return _Event("epoch" if fits else "infeasible", points[trained].seconds, work)

    def _handle(self, event: _Event[SegmentT], dispatcher: Dispatcher[SegmentT], inbox: Inbox) -> None:
        work = event.work
        if work is None:
            self._free += 1
        elif event.kind == "epoch":
            self._epoch(work, dispatcher, inbox)
        elif event.kind == "infeasible":
            self.lost_s += event.seconds
            self._free += 1
            dispatcher.segment_ended(work.segment.number, UNTRAINABLE)
        else:
            self.lost_s += event.seconds
            self._worker_died(work.away_s)
            dispatcher.segment_ended(work.segment.number, DIED)

    def _worker_died(self, away_s: float) -> None:
        if away_s:
            self._clock.after(away_s, _Event("back", 0.0, None))
        else:
            self._free += 1

    def _epoch(self, work: _Work[SegmentT], dispatcher: Dispatcher[SegmentT], inbox: Inbox) -> None:
        number = work.segment.number
        earlier = dispatcher.record(number).reports
        answer = inbox.take(number, report_of(work.curve.points[len(earlier)], earlier))
        record = dispatcher.record(number)
        if self._stop_early(number) or answer == "stop":
            self._free += 1
        elif record.has_ended(work.segment.stop_after_stage):
            self._free += 1
            dispatcher.segment_ended(number, Outcome("ended"))
        elif answer == "out of time":
            self._free += 1
            dispatcher.segment_ended(number, Outcome("out_of_time"))
        else:
            self._schedule(work, record)


def report_of(point: CurvePoint, earlier: tuple[EpochReport, ...]) -> EpochReport:
    """The next epoch of a curve, as a trial would report it. All seconds count as training; values that curves do not
    have are neutral."""
    epoch = len(earlier) + 1
    same_stage = earlier and earlier[-1].stage == point.stage
    return EpochReport(
        epoch=epoch,
        stage=point.stage,
        stage_name=f"stage {point.stage}",
        stage_epoch=earlier[-1].stage_epoch + 1 if same_stage else 1,
        stage_ended=point.stage_ended,
        train_loss=0.0,
        train_accuracy=0.0,
        val_log_loss=point.val_log_loss,
        val_accuracy=point.val_accuracy,
        val_macro_f1=point.val_accuracy,
        learning_rate=0.0,
        image_size=0,
        images_per_s=0.0,
        trainable_parameters=0,
        seconds=PhaseSeconds(train=point.seconds, validate=0.0),
        checkpoint=f"epoch-{epoch:04d}.npz",
        best_weights=f"best-{epoch:04d}.npz",
        holdout_accuracy=point.holdout_accuracy,
        holdout_log_loss=point.holdout_log_loss,
        val_scaled_log_loss=point.val_scaled_log_loss,
        kept_epoch=point.kept_epoch,
    )
