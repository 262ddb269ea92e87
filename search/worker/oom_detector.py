"""Memory of one segment on its worker: which micro-batches to try, and what did not fit."""

from dataclasses import replace

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.training.steps.feature_batches import feature_batch
from search.policy.oom import OomKey, OomRecord, micro_batches, never_fits, next_record
from search.worker.machine_memory import memory_device, oom_kills, was_killed_for_memory
from search.worker.segment import Fallback, Fitted, Message, Outcome, Segment


def with_micro_batches(segment: Segment) -> Segment:
    """The segment with this worker's device and, for each stage, the largest micro-batch that has not failed before."""
    device = memory_device(segment.gpu_share, segment.gpu)
    config, known = _config(segment), _known(segment)
    return replace(segment, device=device, micro_batch=list(micro_batches(known, config, device)))


def known_out_of_memory(segment: Segment) -> Outcome | None:
    """The outcome if earlier segments showed that the smallest micro-batch of a stage does not fit here, or None.

    segment: as `with_micro_batches` returns it.
    """
    config, known = _config(segment), _known(segment)
    for stage in range(segment.first_stage, segment.stop_after_stage + 1):
        record = never_fits(known, config, stage, segment.device)
        if record is not None:
            cause = (
                f"stage {config.stages[stage].name!r}: not tried, because {record.photos} photos at once had no room"
                f" on {segment.device} in {record.tries} earlier tries, and fewer cannot train it"
            )
            return Outcome("out_of_memory", cause, stage=stage, oom_record=record.to_json())
    return None


def oom_record(segment: Segment, stage: int) -> OomRecord:
    """What to remember after a segment from `with_micro_batches` ran out of memory in a stage.

    A stage with a frozen backbone counts the photos whose features it computes at once, if they are fewer than its
    batch: half of the batch could be as many as before. Next to the backbone, the head takes hardly any memory.
    """
    config, known = _config(segment), _known(segment)
    photos = (segment.micro_batch[stage] if segment.micro_batch else None) or config.stage_batch_size(stage)
    if config.stages[stage].unfreeze == 0.0:
        photos = min(photos, feature_batch(config.stage_size(stage)))
    return next_record(known, OomKey.of(config, stage, segment.device), photos)


def _config(segment: Segment) -> TrainConfig:
    return TrainConfig.model_validate(segment.config)


def _known(segment: Segment) -> list[OomRecord]:
    return [OomRecord.from_json(values) for values in segment.oom_records]


class OutOfMemoryDetector:
    """Follows one child's messages and adds to its outcome what ran out of memory."""

    def __init__(self, segment: Segment, kills_before: int | None) -> None:
        """kills_before: `oom_kills` before the child started."""
        self._segment = segment
        self._kills_before = kills_before
        self._stage = segment.first_stage
        self._last_stage = len(segment.config["stages"]) - 1

    def fitted(self, message: Fitted) -> None:
        """The child starts with fewer photos at once than the segment says."""
        self._segment = replace(self._segment, micro_batch=message.micro_batch)

    def annotate(self, message: Message, exit_code: int | None) -> Message:
        """The message itself or, after the child ran out of memory, an outcome that says what did not fit.

        exit_code: the child's, or None while it lives.
        """
        match message:
            case Fallback():
                self._stage = min(message.stage, self._last_stage)
            case EpochReport():
                self._stage = min(message.stage + message.stage_ended, self._last_stage)
            case Outcome(kind="killed") if self._by_the_kernel(exit_code):
                cause = f"{message.cause}: killed by the system, which ran out of memory"
                return self._out_of_memory(cause, self._stage)
            case Outcome(kind="out_of_memory"):
                return self._out_of_memory(message.cause, self._stage if message.stage is None else message.stage)
        return message

    def _by_the_kernel(self, exit_code: int | None) -> bool:
        return was_killed_for_memory(exit_code, kills_before=self._kills_before, kills_after=oom_kills())

    def _out_of_memory(self, cause: str | None, stage: int) -> Outcome:
        record = oom_record(self._segment, stage)
        return Outcome("out_of_memory", cause, stage=stage, oom_record=record.to_json())
