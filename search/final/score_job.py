"""What crosses between the command and the process that scores its final training."""

import json
from dataclasses import asdict, dataclass

from carcls.events import EpochReport
from search.experiment.experiment import Experiment
from search.study.final_scores import Scores, scores_from_json
from search.worker.segment import Result


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


def result_of(scores: Scores) -> Result:
    """The message with the scores, sent once the exported model is on disk."""
    return Result(json.dumps(asdict(scores)))


def scores_of(result: Result) -> Scores:
    """Inverse of `result_of`."""
    return scores_from_json(json.loads(result.content))
