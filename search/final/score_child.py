"""The process that scores a final training and exports its model."""

import logging
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from carcls.backend import devices
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.training_data import TrainingData
from search.experiment.node_store import open_store
from search.final.score_job import ScoreJob, result_of
from search.final.scoring import Refit, score
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split, shared_tables
from search.worker.child import compile_cache, outcome_of, run_in_child
from search.worker.outbox import Outbox
from search.worker.segment import Notice, Segment
from search.worker.segment_config import config_of


def run_scoring(job: ScoreJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Runs scoring in this process."""
    folder = StudyFolder(Path(job.root), job.final)
    run_in_child(
        partial(_score, job, segment, folder),
        messages,
        lifeline,
        threads=segment.threads,
        output=folder.retrain_output,
        outcome_of=outcome_of,
    )


def _score(
    job: ScoreJob, segment: Segment, folder: StudyFolder, outbox: Outbox, batch_server: BatchWorkerServer | None
) -> None:
    # Nothing else runs on the machine, so the framework chooses its threads.
    devices.configure(
        threads=None,
        deterministic=segment.deterministic,
        gpu_memory_share=segment.gpu_share and min(segment.gpu_share, 1.0),  # one GPU scores
        gpu=segment.gpu,
        compiled=compile_cache(segment.store),
    )
    store = open_store(job.experiment.store)
    own, data_root = folder.retrain_study, job.experiment.data.root
    folds = range(len(job.members)) if len(job.members) > 1 else (None,)
    # The search's trial is scored in place of a training on all photos alone.
    is_trial = bool(job.refit) and not job.numbers and job.trial is not None
    refit = Refit(own.trial(job.refit_number), job.refit) if job.refit else None
    parts = [
        TrainingData(
            split=read_study_split(own, data_root, segment.split_digest, fold=fold),
            store=store,
            view_seed=segment.view_seed,
            processes=segment.threads,
            batch_server=batch_server,
            shared=shared_tables(own, data_root, fold=fold),
        )
        for fold in folds
    ]
    scores = score(
        folder,
        job.experiment,
        config_of(segment),
        parts,
        job.members,
        trial=job.trial,
        refit=refit,
        folders=[folder.trial(job.trial)] if is_trial and job.trial is not None else list(map(own.trial, job.numbers)),
        extra=job.extra,
        pseudo=job.pseudo,
        trained_in_bytes=job.trained_in_bytes,
        at_once=segment.micro_batch[-1] if segment.micro_batch else None,
        # Also a sign of life: with many photos, scoring all folds takes long.
        scored=lambda fold: outbox.send(Notice(logging.INFO, f"fold {fold + 1} is scored")),
    )
    outbox.send(result_of(scores))
