"""What crosses between the command and the process that scores its final training."""

import json
from dataclasses import asdict, dataclass

from carcls.events import EpochReport
from search.experiment.experiment import Experiment
from search.study.final_scores import Scores, scores_from_json
from search.worker.segment import Message

_SCORES = "scores"


@dataclass(frozen=True)
class ScoreJob:
    """What the child needs beside its segment, which tells configuration, threads and memory."""

    root: str
    """Absolute path of the folder of the study whose final training it is."""
    experiment: Experiment
    trial: int | None
    """The trial that is repeated; None for a fixed recipe."""
    members: tuple[tuple[EpochReport, ...], ...]
    """All epochs of each training, in order of folds."""
    trained_in_bytes: int
    """Most main memory that a process which trained held; 0 where the system did not tell."""


def scores_message(scores: Scores) -> Message:
    """Told last but for the outcome; the exported model is on disk then."""
    return {_SCORES: json.dumps(asdict(scores))}


def read_scores_message(message: Message) -> Scores | None:
    """None where it is another message."""
    return scores_from_json(json.loads(message[_SCORES])) if _SCORES in message else None
