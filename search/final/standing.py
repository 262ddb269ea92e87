"""Where a final training stands, in words."""

from collections.abc import Sequence

from carcls.config import TrainConfig
from carcls.events import EpochReport
from search.worker.segment import Outcome


def is_done(reports: Sequence[EpochReport], config: TrainConfig) -> bool:
    """True where the last stage has ended. Pure."""
    return bool(reports) and reports[-1].stage_ended and reports[-1].stage == len(config.stages) - 1


def standing(reports: Sequence[EpochReport], config: TrainConfig) -> str:
    """Where a final training is, for errors. Pure."""
    if is_done(reports, config):
        return "being scored after its last epoch"
    return f"after epoch {reports[-1].epoch} of {config.total_epochs}" if reports else "before its first epoch"


def too_often_text(outcome: Outcome, what: str, *, deaths: int, max_restarts: int) -> str:
    """What, where, and what to do, where no child lives long enough for an epoch. Pure.

    outcome: the last child's, killed. deaths: of children since the last epoch. what: the training.
    """
    if outcome.silent_by is None:
        advice = "find out what ends it, then call the same command again"
    else:
        advice = (
            "find out what it waits for (a disk or a device that does not answer), or, where it is only slow, raise"
            f" that limit by --set {outcome.silent_by}=...; then call the same command again"
        )
    return (
        f"{what}: {outcome.cause}, {deaths} times without an epoch between them, which is more than"
        f" search.max_restarts ({max_restarts}): {advice}; every finished epoch is kept"
    )
