"""What crosses between the command and the process of its final training, and where that process begins.

Apart from what runs there: the command must not load a framework, and a child imports the module of its main function.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

from carcls.config import TrainConfig
from carcls.events import EpochReport
from search.cluster.entry import imported
from search.cluster.segment import Message, Segment
from search.experiment.experiment import Experiment
from search.scores import Scores, scores_from_json

_LINE = "line"
_SCORES = "scores"


@dataclass(frozen=True)
class FinalJob:
    """What the child needs beside its segment. The final training is one segment too, from wherever it stands to the
    end of its last stage; the segment's number is no trial's."""

    experiment: Experiment
    trial: int | None
    """The trial that is repeated; None for a fixed recipe."""
    reports: tuple[EpochReport, ...]
    """Its epochs so far."""


def final_main(job: FinalJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.final_child`."""
    run_final = imported(_run_final, messages)
    if run_final is not None:
        run_final(job, segment, messages, lifeline)


def _run_final() -> Callable[[FinalJob, Segment, Connection, Connection], None]:
    from search.final_child import run_final  # noqa: PLC0415 - brings TensorFlow, which the command must not load

    return run_final


def is_done(reports: Sequence[EpochReport], config: TrainConfig) -> bool:
    """True where the last stage has ended. Pure."""
    return bool(reports) and reports[-1].stage_ended and reports[-1].stage == len(config.stages) - 1


def line_message(line: str) -> Message:
    """A line for the user's terminal."""
    return {_LINE: line}


def read_line(message: Message) -> str | None:
    """None where it is another message."""
    return message.get(_LINE)


def scores_message(scores: Scores) -> Message:
    """Told last but for the outcome; the exported model is on disk then."""
    return {_SCORES: json.dumps(asdict(scores))}


def read_scores_message(message: Message) -> Scores | None:
    """None where it is another message."""
    return scores_from_json(json.loads(message[_SCORES])) if _SCORES in message else None
