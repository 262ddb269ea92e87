"""Messages between the command and the process that scores its final training."""

import json
from dataclasses import asdict, dataclass

from carcls.events import EpochReport
from search.experiment.experiment import Experiment
from search.study.final_scores import Scores, scores_from_json
from search.worker.segment import Message

_SCORES = "scores"


@dataclass(frozen=True)
class ScoreJob:
    """What the child needs besides its segment, which holds configuration, threads and memory."""

    root: str
    """Absolute path of the folder of the study."""
    experiment: Experiment
    trial: int | None
    """The retrained trial; None for a fixed recipe."""
    members: tuple[tuple[EpochReport, ...], ...]
    """All epochs of each training, in fold order."""
    trained_in_bytes: int
    """Peak main memory of the training processes; 0 if unknown."""


def scores_message(scores: Scores) -> Message:
    """The last message before the outcome; the exported model is on disk by then."""
    return {_SCORES: json.dumps(asdict(scores))}


def read_scores_message(message: Message) -> Scores | None:
    """The scores in a message, or None if it is another message."""
    return scores_from_json(json.loads(message[_SCORES])) if _SCORES in message else None
