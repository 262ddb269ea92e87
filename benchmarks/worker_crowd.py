"""An executor whose workers train nothing: what each call costs the driver with hundreds of them."""

import time
from collections import deque
from collections.abc import Callable
from statistics import mean

from benchmarks.grown_study import epoch_report
from carcls.config import TrainConfig
from search.driver.dispatch import Dispatcher
from search.worker.segment import Outcome, Segment

Clock = Callable[[], float]


class WorkerCrowd:
    """Keeps the contract of `Executor`: every slot has a segment, whose epochs are reported in turn.

    It stops the run after `handed_out` further segments once all slots are busy.
    """

    def __init__(self, slots: int, *, handed_out: int, clock_s: Clock = time.process_time) -> None:
        self._slots = slots
        self._left = handed_out
        self._clock_s = clock_s
        self.report_s: list[float] = []
        """CPU seconds of each report, while all slots are busy."""
        self.hand_out_s: list[float] = []
        """CPU seconds to settle each ended segment and to hand out the next one."""

    def run(self, dispatcher: Dispatcher[Segment]) -> None:
        """Trains, so to speak, until the given number of segments was handed out."""
        busy: deque[tuple[Segment, int]] = deque()
        while len(busy) < self._slots:
            segment = dispatcher.next_segment()
            if isinstance(segment, str):
                raise RuntimeError(f"the policy left {self._slots - len(busy)} slots empty: {segment}")
            busy.append((segment, dispatcher.record(segment.number).fidelity))
        while self._left:
            segment, epoch = busy.popleft()
            ended = self._train(dispatcher, segment, epoch + 1)
            if not ended:
                busy.append((segment, epoch + 1))
                continue
            began_s = self._clock_s()
            dispatcher.segment_ended(segment.number, Outcome("ended"))
            following = dispatcher.next_segment()
            self.hand_out_s.append(self._clock_s() - began_s)
            self._left -= 1
            if not isinstance(following, str):
                busy.append((following, dispatcher.record(following.number).fidelity))
        dispatcher.stop("enough was measured")

    def _train(self, dispatcher: Dispatcher[Segment], segment: Segment, epoch: int) -> bool:
        """Reports one epoch; True if it was the segment's last."""
        config = TrainConfig.model_validate(segment.config)
        ends = [sum(stage.epochs for stage in config.stages[: at + 1]) for at in range(len(config.stages))]
        stage = next(at for at, end in enumerate(ends) if epoch <= end)
        stage_epoch = epoch - (ends[stage - 1] if stage else 0)
        report = epoch_report(
            epoch, stage, stage_epoch, config, 0.5 + (segment.number % 97) / 400, ended=epoch == ends[stage]
        )
        began_s = self._clock_s()
        dispatcher.report(segment.number, report)
        self.report_s.append(self._clock_s() - began_s)
        return epoch == ends[stage] and stage >= segment.stop_after_stage

    def figures(self) -> dict[str, float]:
        """Mean CPU seconds of a report, mean and largest of a change of segments."""
        return {
            "crowd_report": mean(self.report_s),
            "crowd_next": mean(self.hand_out_s),
            "crowd_next_worst": max(self.hand_out_s),
        }
