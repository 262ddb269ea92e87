"""Messages about a failed process of a final training: what failed, where, and what to do. Pure."""

from collections.abc import Sequence

from carcls.config import TrainConfig
from carcls.errors import DiskFullError
from carcls.events import EpochReport
from carcls.splits.k_folds import EVERY_PHOTO
from search.errors import StudyError
from search.policy.oom import OomKey, OomRecord, micro_batch, smallest_micro_batch, worth_retrying
from search.policy.records import TrialRecord
from search.terminal.continuing import SAME_COMMAND
from search.worker.segment import Outcome


def training_name(record: TrialRecord, count: int) -> str:
    """`the final training`, or `fold 2 of 4 of the final training` if there are several. count: number of folds."""
    if record.fold == EVERY_PHOTO:
        return "the training on all photos"
    return "the final training" if record.fold is None else f"fold {record.fold + 1} of {count} of the final training"


def is_done(reports: Sequence[EpochReport], config: TrainConfig) -> bool:
    """True once the last stage has ended."""
    return bool(reports) and reports[-1].stage_ended and reports[-1].stage == len(config.stages) - 1


def progress_text(reports: Sequence[EpochReport], config: TrainConfig) -> str:
    """How far a final training has come, for error messages."""
    if is_done(reports, config):
        return "being scored after its last epoch"
    return f"after epoch {reports[-1].epoch} of {config.total_epochs}" if reports else "before its first epoch"


def retry_text(
    outcome: Outcome,
    config: TrainConfig,
    *,
    deaths: int,
    max_restarts: int,
    what: str,
    start_over: str,
    again: str = SAME_COMMAND,
) -> str:
    """The line to print before a new process resumes the training.

    deaths: since the last epoch, including this one. what: the training, for error messages. start_over: the command
    that trains it from scratch, see `start_over_command`. again: what continues it later. Raises StudyError if another
    process would not help, DiskFullError if the disk is full.
    """
    match outcome.kind:
        case "out_of_memory" if outcome.oom_record is not None:
            record = OomRecord.from_json(outcome.oom_record)
            if not worth_retrying(config, record):
                raise StudyError(no_room_text(record.key, outcome, config, what, start_over, again=again))
            stage = outcome.stage or 0
            next_try = micro_batch([record], config, stage, record.key.device) or config.stage_batch_size(stage)
            is_same = next_try >= record.photos
            return (
                f"no room for {record.photos} photos at once in stage {config.stages[stage].name!r}: resuming from the"
                f" last checkpoint with {'as many as before' if is_same else f'at most {next_try}'}"
            )
        case "killed" if deaths <= max_restarts:
            return f"{outcome.cause}: resuming from the last checkpoint"
        case "killed":
            raise StudyError(too_many_deaths_text(outcome, what, deaths=deaths, max_restarts=max_restarts, again=again))
        case "doubtful" if deaths <= 1:
            return f"{outcome.cause}: resuming once from the last checkpoint, in case another process held the memory"
        case "preempted":
            return f"{outcome.cause}: resuming there"
        case "disk_full":
            raise DiskFullError(outcome.cause or what)
        case _:
            raise StudyError(outcome.cause or f"{what} {outcome.kind} without a cause")


def no_room_text(
    key: OomKey, outcome: Outcome, config: TrainConfig, what: str, start_over: str, *, again: str = SAME_COMMAND
) -> str:
    """The smallest micro-batch does not fit in memory."""
    stage = config.stages[outcome.stage or 0].name
    cause = (outcome.cause or "").partition(";")[0]  # the rest advises a smaller batch, which would not help
    return (
        f"{what}: no room for stage {stage!r}: not even {smallest_micro_batch(config)} photos at once fit at"
        f" {key.image_size} px through {key.backbone} on {key.device} ({cause}). Start over with"
        f" '{start_over}' and a smaller image size or backbone (--set retrain.image_size=... for 'carsearch retrain',"
        f" the file's train section for 'carsearch train'), or run {again} again where there is more memory: every"
        " finished epoch is kept"
    )


def too_many_deaths_text(
    outcome: Outcome, what: str, *, deaths: int, max_restarts: int, again: str = SAME_COMMAND
) -> str:
    """No process lived long enough to finish an epoch.

    outcome: of the last process, killed. deaths: since the last epoch. what: the training. again: see `retry_text`.
    """
    if outcome.timeout_setting is None:
        advice = f"find out what ends it, then run {again} again"
    else:
        advice = (
            "find out what it waits for (a disk or a device that does not answer) or, if it is only slow, raise"
            f" that limit by --set {outcome.timeout_setting}=...; then run {again} again"
        )
    return (
        f"{what}: {outcome.cause}, {deaths} times without an epoch between them, which is more than"
        f" search.max_restarts ({max_restarts}): {advice}; every finished epoch is kept"
    )
