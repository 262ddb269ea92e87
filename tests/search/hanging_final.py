"""A final training's process that gets stuck: it trains nothing, and tells epochs that are ready. A module of its own,
for the fork server's children find their main function in one."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from carcls.events import PhaseSeconds
from search.cluster.segment import Outcome, Segment, outcome_message, report_message
from search.final_job import FinalJob, is_done, line_message, scores_message
from search.folder import StudyFolder
from search.scores import Scores
from tests.search.trial_builders import climb

EPOCHS = tuple(replace(one, seconds=PhaseSeconds(train=0.01, validate=0.0)) for one in climb([0.5, 0.6], [0.7]))
"""What the training has in the end: two epochs of one stage, one of the other."""
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


def hanging_final(
    job: FinalJob,
    segment: Segment,
    messages: Connection,
    lifeline: Connection,
    *,
    had_by_attempt: Sequence[int],
    interrupted: int | None,
) -> None:
    """`final_main`, but each attempt is stuck once there are so many epochs, unless these are all.

    interrupted: process that hears a Ctrl-C just before; None: none.
    """
    (StudyFolder(Path(segment.study)).retrain / f"attempt-{segment.attempt}").mkdir()
    messages.send(line_message(f"attempt {segment.attempt} goes on from {segment.resume}"))
    had = EPOCHS[: had_by_attempt[segment.attempt]]
    for report in had[len(job.reports) :]:
        messages.send(report_message(report))
    if is_done(had, job.experiment.bind({})):
        messages.send(scores_message(SCORES))
        messages.send(outcome_message(Outcome("ended")))
        return
    if interrupted is not None:
        os.kill(interrupted, signal.SIGINT)
    os.kill(os.getpid(), signal.SIGSTOP)
