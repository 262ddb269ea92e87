"""On the worker: how many photos at once a segment is tried with here, and what its running out of memory means."""

from dataclasses import replace

from carcls.config import TrainConfig
from carcls.events import EpochReport
from search.policy.oom import OomKey, OomRecord, micro_batches, never_fits, next_record
from search.worker.machine_memory import memory_device, oom_kills, was_killed_for_memory
from search.worker.segment import Fallback, Message, Outcome, Segment


def fitted(segment: Segment) -> Segment:
    """With this worker's device, and for each stage the photos at once that may fit here, by all that was refused."""
    device = memory_device(segment.gpu_share, segment.gpu)
    known = [OomRecord.from_json(values) for values in segment.oom_records]
    config = TrainConfig.model_validate(segment.config)
    return replace(segment, device=device, micro_batch=list(micro_batches(known, config, device)))


def refused_before(segment: Segment) -> Outcome | None:
    """The end of a segment that was `fitted`, where it is known beforehand: in one of its stages not even the fewest
    photos have room here, as earlier ones found. None where it is worth a try."""
    known = [OomRecord.from_json(values) for values in segment.oom_records]
    config = TrainConfig.model_validate(segment.config)
    for stage in range(segment.first_stage, segment.stop_after_stage + 1):
        record = never_fits(known, config, stage, segment.device)
        if record is not None:
            cause = (
                f"stage {config.stages[stage].name!r}: not tried, for {record.photos} photos at once had no room on"
                f" {segment.device} in {record.tries} earlier tries, and fewer do not train it"
            )
            return Outcome("out_of_memory", cause, stage=stage, oom_record=record.to_json())
    return None


def refused(segment: Segment, stage: int) -> OomRecord:
    """What a segment that was `fitted` tells by having no room in one of its stages."""
    known = [OomRecord.from_json(values) for values in segment.oom_records]
    config = TrainConfig.model_validate(segment.config)
    photos = (segment.micro_batch[stage] if segment.micro_batch else None) or config.batch_size
    return next_record(known, OomKey.of(config, stage, segment.device), photos)


class MemoryTold:
    """Listens to one child's messages, and puts into its outcome what that says of memory."""

    def __init__(self, segment: Segment, kills_before: int | None) -> None:
        """kills_before: `oom_kills` before the child started."""
        self._segment = segment
        self._kills_before = kills_before
        self._stage = segment.first_stage
        self._last_stage = len(segment.config["stages"]) - 1

    def of(self, message: Message, exit_code: int | None) -> Message:
        """The message itself; or, where the child had no room, the outcome with what was refused.

        exit_code: the child's; None while it lives.
        """
        match message:
            case Fallback():
                self._stage = min(message.stage, self._last_stage)
            case EpochReport():
                self._stage = min(message.stage + message.stage_ended, self._last_stage)
            case Outcome(kind="killed") if self._by_the_kernel(exit_code):
                return self._refused(f"{message.cause}: killed by the system, which had no memory left", self._stage)
            case Outcome(kind="out_of_memory"):
                return self._refused(message.cause, self._stage if message.stage is None else message.stage)
        return message

    def _by_the_kernel(self, exit_code: int | None) -> bool:
        return was_killed_for_memory(exit_code, kills_before=self._kills_before, kills_after=oom_kills())

    def _refused(self, cause: str | None, stage: int) -> Outcome:
        record = refused(self._segment, stage)
        return Outcome("out_of_memory", cause, stage=stage, oom_record=record.to_json())
