"""The final training's process: trains what is left to train, scores, exports the model."""

from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from carcls import devices
from carcls.data.nursery import Nursery
from carcls.data.source import TrainingData
from carcls.errors import CarclsError
from carcls.events import EpochReport
from carcls.training.position import Position
from carcls.training.progress import newest_whole, position_of
from carcls.training.retention import remove_unrecorded
from carcls.training.stages import fine_tune
from search.cluster.child import live, outcome_of
from search.cluster.outbox import Outbox
from search.cluster.segment import Fallback, Outcome, Segment, fallback_message, report_message
from search.cluster.segment_config import config_of
from search.errors import SearchError
from search.final_job import FinalJob, is_done, line_message, scores_message
from search.folder import StudyFolder
from search.scoring import score
from search.split import read_study_split
from search.stores import open_store


def run_final(job: FinalJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's whole life."""
    folder = StudyFolder(Path(segment.study))
    live(
        partial(_train_and_score, job, segment, folder),
        messages,
        lifeline,
        threads=segment.threads,
        output=folder.retrain_output,
        meaning=partial(final_outcome, folder),
    )


def _train_and_score(
    job: FinalJob, segment: Segment, folder: StudyFolder, outbox: Outbox, nursery: Nursery | None
) -> None:
    # It has the machine to itself: threads and the GPU's memory are the framework's own choice.
    devices.configure(threads=None, deterministic=segment.deterministic, gpu_memory_share=None)
    config = config_of(segment)
    data = TrainingData(
        split=read_study_split(folder, Path(segment.data_root), segment.split_digest),
        store=open_store(job.experiment.store),
        view_seed=segment.view_seed,
        processes=segment.threads,
        nursery=nursery,
    )
    reports = list(job.reports)

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        outbox.send(report_message(report))

    if not is_done(reports, config):
        resume = going_on_from(folder, reports, outbox)
        if resume == (reports[-1].checkpoint if reports else None):  # else it may be what another attempt left
            remove_unrecorded(folder.retrain, reports)
        fine_tune(
            config,
            data,
            on_epoch,
            folder=folder.retrain,
            attempt=segment.attempt,
            resume=resume,
            micro_batch=segment.micro_batch or None,
        )
    at_once = segment.micro_batch[-1] if segment.micro_batch else None
    outbox.send(scores_message(score(folder, job.experiment, config, data, reports, trial=job.trial, at_once=at_once)))


def going_on_from(folder: StudyFolder, reports: list[EpochReport], outbox: Outbox) -> str | None:
    """The last checkpoint or, where it or its best weights are lost, one from before; None: it starts again.

    Epochs beyond it are forgotten, here and by the command, which is told, and trained again: the model shall be the
    one that the reports tell of.
    """
    if not reports:
        return None
    name, lost = newest_whole(folder.retrain, reports[-1].checkpoint, with_best=True)
    if lost:
        outbox.send(line_message(f"{'; '.join(lost)}: {f'going on from {name}' if name else 'starting again'}"))
        stands = position_of(folder.retrain, name) if name else Position()
        outbox.send(fallback_message(Fallback(stands.epoch, stands.next_stage)))
        del reports[stands.epoch :]
    return name


def final_outcome(folder: StudyFolder, error: Exception) -> Outcome:
    """What an error means; its cause in the words that its user is to read: what carsearch raises on purpose in full,
    for anything else where the traceback is."""
    outcome = outcome_of(error)
    if outcome.kind == "out_of_memory":
        return outcome
    if isinstance(error, CarclsError | SearchError):
        return replace(outcome, cause=str(error))
    return replace(outcome, cause=f"{outcome.cause}; the traceback is in {folder.retrain_output}")
