"""Messages between the command and the process that scores its final training."""

import json
from dataclasses import asdict, dataclass

from carcls.events import EpochReport
from search.experiment.experiment import Experiment
from search.study.final_scores import ExtraScore, Scores, scores_from_json
from search.worker.segment import Result


@dataclass(frozen=True)
class ScoreJob:
    """What the child needs besides its segment, which holds configuration, threads and memory."""

    root: str
    """Absolute path of the folder of the study."""
    experiment: Experiment
    trial: int | None
    """The retrained trial; None for a fixed recipe."""
    members: tuple[tuple[EpochReport, ...], ...]
    """All epochs of each training that validates, in fold order."""
    trained_in_bytes: int
    """Peak main memory of the training processes; 0 if unknown."""
    refit: tuple[EpochReport, ...] = ()
    """All epochs of the training on all photos, which is then exported; empty if there is none."""
    refit_number: int = 0
    """Its number in the final study."""
    numbers: tuple[int, ...] = ()
    """Number of each member in the final study; empty if `members` is the search's trial."""
    extra: ExtraScore | None = None
    """What extra photos gained; None without any."""
    pseudo: ExtraScore | None = None
    """What pseudo-labelled photos gained; None without any."""
    final: str = "retrain"
    """See `StudyFolder`."""


def result_of(scores: Scores) -> Result:
    """The message with the scores; the exported model is on disk by then."""
    return Result(json.dumps(asdict(scores)))


def scores_of(result: Result) -> Scores:
    """Inverse of `result_of`."""
    return scores_from_json(json.loads(result.content))
