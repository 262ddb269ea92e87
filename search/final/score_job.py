"""What crosses between the command and the process that scores its final training, and where that process begins.

Apart from what runs there: the command must not load a framework, and a child imports the module of its main function.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

from carcls.events import EpochReport
from search.cluster.entry import imported
from search.cluster.segment import Message, Segment
from search.experiment.experiment import Experiment
from search.scores import Scores, scores_from_json

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


def score_main(job: ScoreJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.final.score_child`."""
    run_scoring = imported(_run_scoring, messages)
    if run_scoring is not None:
        run_scoring(job, segment, messages, lifeline)


def _run_scoring() -> Callable[[ScoreJob, Segment, Connection, Connection], None]:
    from search.final.score_child import run_scoring  # noqa: PLC0415 - brings TensorFlow, which the command must not load

    return run_scoring


def scores_message(scores: Scores) -> Message:
    """Told last but for the outcome; the exported model is on disk then."""
    return {_SCORES: json.dumps(asdict(scores))}


def read_scores_message(message: Message) -> Scores | None:
    """None where it is another message."""
    return scores_from_json(json.loads(message[_SCORES])) if _SCORES in message else None
