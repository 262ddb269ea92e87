"""Processes of a final training that get stuck or report prepared epochs without training.

It is a module of its own because the fork server's children import their main function.
"""

import json
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from carcls.config import TrainConfig
from carcls.events import PhaseSeconds
from carcls.training.retention import epoch_of
from search.final.failure_texts import is_done
from search.final.score_job import ScoreJob, result_of
from search.study.final_scores import Scores
from search.study.folder import StudyFolder
from search.worker.segment import Notice, Outcome, Segment
from tests.helpers.search.trial_builders import climb

EPOCHS = tuple(replace(one, seconds=PhaseSeconds(train=0.01, validate=0.0)) for one in climb([0.5, 0.6], [0.7]))
"""All epochs of the training: two of one stage, one of the other."""
SCORES = Scores(
    best_epoch=3,
    best_stage="top",
    image_size=32,
    validation_photos=9,
    plain_accuracy=0.7,
    plain_log_loss=0.3,
    plain_correct=6,
    tta_accuracy=0.7,
    tta_log_loss=0.3,
    tta_interval=(0.0, 0.0),
    tta_views=("plain",),
    seconds=0.03,
    device="CPU",
    trial=None,
)


def hanging_child(
    segment: Segment,
    messages: Connection,
    lifeline: Connection,
    *,
    had_by_attempt: Sequence[int],
    interrupted: int | None,
) -> None:
    """`child_main`, but each attempt is stuck once there are so many epochs, unless these are all.

    interrupted: process that hears a Ctrl-C just before; None: none.
    """
    attempt, resume = segment.attempt, segment.resume
    messages.send(Notice(logging.WARNING, f"attempt {attempt} goes on from {resume}"))
    had = EPOCHS[: had_by_attempt[attempt]]
    for report in had[epoch_of(resume) if resume else 0 :]:
        for name in (report.checkpoint, report.best_weights):
            path = StudyFolder(Path(segment.study)).trial(segment.number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        messages.send(report)
    if is_done(had, TrainConfig.model_validate(segment.config)):
        messages.send(Outcome("ended"))
        return
    if interrupted is not None:
        os.kill(interrupted, signal.SIGINT)
    os.kill(os.getpid(), signal.SIGSTOP)


def noting_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Like `child_main`, but records its segment and reports all epochs at once."""
    Path(segment.study, "segment.json").write_text(json.dumps(segment.to_json()), encoding="utf-8")
    hanging_child(segment, messages, lifeline, had_by_attempt=(len(EPOCHS),), interrupted=None)


def score_at_once(job: ScoreJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Like `score_main`, but with fixed scores."""
    messages.send(result_of(SCORES))
    messages.send(Outcome("ended"))
