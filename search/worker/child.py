"""One segment in a process of its own. The fork server imports this module beforehand, and TensorFlow with it."""

import contextlib
import gc
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from carcls.backend import devices
from carcls.errors import (
    CarclsError,
    CheckpointError,
    DamagedStoreError,
    DataError,
    MisfitError,
    OutOfMemoryError,
    TrainingError,
    WeightsError,
)
from carcls.input.batch_worker import serve
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.training_data import TrainingData
from carcls.system.atomic import is_full_disk, unreachable_cause
from carcls.training.epoch_files import newest_intact, position_of
from carcls.training.fine_tuning import fine_tune
from carcls.training.position import Position
from search.errors import SearchError
from search.experiment.node_store import open_store
from search.experiment.settings import StoreSettings
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split, shared_tables
from search.worker.machine_memory import peak_memory_bytes
from search.worker.outbox import Outbox, send_notices
from search.worker.segment import (
    Fallback,
    Notice,
    Outcome,
    Segment,
    fallback_message,
    notice_message,
    outcome_message,
    report_message,
)
from search.worker.segment_config import config_of

_PIECE_BYTES = 1 << 20

Work = Callable[[Outbox, BatchWorkerServer | None], None]
"""What a child is for: it tells the outbox, and its batches are prepared by processes of the batch worker server."""


def run_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's whole life."""
    study = StudyFolder(Path(segment.study))
    live(
        partial(_train, segment, study),
        messages,
        lifeline,
        threads=segment.threads,
        output=study.root / study.output_name(segment.number, segment.attempt),
        meaning=outcome_of,
    )


def live(
    work: Work,
    messages: Connection,
    lifeline: Connection,
    *,
    threads: int,
    output: Path,
    meaning: Callable[[Exception], Outcome],
) -> None:
    """A child's whole life about its work: its outcome is the last that it tells. The one broad except of a trial: it
    records, and the search goes on.

    threads: above 1, there is a batch worker server. output: file to which all that it prints is appended.
    meaning: of an error.
    """
    # What the fork server imported lives as long as this process: no collection needs to look at it again (0.3 s each).
    gc.freeze()
    # First of all: this process must have one thread, and TensorFlow imported at most.
    batch_server = BatchWorkerServer.forked(serve) if threads > 1 else None
    threading.Thread(target=_exit_with_actor, args=(lifeline,), daemon=True).start()
    outbox = Outbox(messages)
    send_notices(outbox)
    try:
        _redirect_output(output)
        work(outbox, batch_server)
    except Exception as error:  # noqa: BLE001 - the trial boundary: whatever happened is recorded as data
        with contextlib.suppress(OSError):  # on a full disk the output has no room either
            traceback.print_exc()
        outbox.send(outcome_message(meaning(error)))
    else:
        outbox.send(outcome_message(Outcome("ended", peak_memory_bytes=peak_memory_bytes())))
    outbox.close()


def _exit_with_actor(lifeline: Connection) -> None:
    """Ends this process at once when the actor is gone: whatever was written is safe, checkpoints being atomic."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _redirect_output(path: Path) -> None:
    """Sends stdout and stderr, of C++ too, to the trial's folder. Raises OSError."""
    # No more than the trial's own two folders: a study whose file system is away must not appear anew without it.
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _train(segment: Segment, study: StudyFolder, outbox: Outbox, batch_server: BatchWorkerServer | None) -> None:
    devices.configure(
        threads=segment.threads,
        deterministic=segment.deterministic,
        gpu_memory_share=segment.gpu_share,
        gpu=segment.gpu,
    )
    split = read_study_split(study, Path(segment.data_root), segment.split_digest, fold=segment.fold)
    store = open_store(StoreSettings.model_validate(segment.store))
    fine_tune(
        config_of(segment),
        TrainingData(
            split=split,
            store=store,
            view_seed=segment.view_seed,
            processes=segment.threads,
            batch_server=batch_server,
            shared=shared_tables(study, Path(segment.data_root), fold=segment.fold),
        ),
        lambda report: outbox.send(report_message(report)),
        folder=study.trial(segment.number),
        attempt=segment.attempt,
        resume=_resumable(segment, study, outbox),
        stop_after_stage=segment.stop_after_stage,
        micro_batch=segment.micro_batch or None,
        rank_by=segment.rank_by,
        averages=segment.averages,
    )


def _resumable(segment: Segment, study: StudyFolder, outbox: Outbox) -> str | None:
    """The segment's checkpoint or, where that is lost, one from before it; says so to the driver and in the output.

    The driver takes back what it has recorded of the epochs since. Raises OSError where the checkpoint is there but
    cannot be read at this moment: it is not lost, and no finished epoch is given up for it.
    """
    if segment.resume is None:
        return None
    with contextlib.suppress(FileNotFoundError), (study.trial(segment.number) / segment.resume).open("rb") as file:
        while file.read(_PIECE_BYTES):
            pass
    name, lost = newest_intact(study.trial(segment.number), segment.resume, with_best=segment.needs_best)
    if lost:
        text = f"trial {segment.number}: {'; '.join(lost)}: {f'goes on from {name}' if name else 'starts again'}"
        sys.stdout.write(f"{text}\n")
        outbox.send(notice_message(Notice(logging.WARNING, text)))
        stands = position_of(study.trial(segment.number), name) if name else Position()
        outbox.send(fallback_message(Fallback(stands.epoch, stands.next_stage)))
    return name


def outcome_of(error: Exception) -> Outcome:
    """What an error means: no room, a configuration that cannot be trained, a full disk, a process that another one
    can do better than, files that no trial could do without, or a failure of the program."""
    cause = f"{type(error).__name__}: {error}".splitlines()[0]
    in_full = str(error) if isinstance(error, CarclsError | SearchError) else None
    if is_full_disk(error):
        return Outcome("disk_full", cause, in_full=in_full)
    if isinstance(error, OutOfMemoryError) or devices.is_out_of_memory(error):
        return Outcome("out_of_memory", cause, stage=getattr(error, "stage", None), in_full=in_full)
    if isinstance(error, DamagedStoreError):  # it has mended itself: a fresh process builds anew what was damaged
        return Outcome("killed", cause, in_full=in_full)
    if isinstance(error, TrainingError):
        return Outcome("infeasible", cause, in_full=in_full)
    return Outcome("unavailable" if _concerns_all(error) else "failed", cause, in_full=in_full)


def _concerns_all(error: Exception) -> bool:
    """True where photos, split, weights or storage are at fault, which every trial shares."""
    if isinstance(error, MisfitError):
        return False
    return isinstance(error, DataError | WeightsError | CheckpointError) or unreachable_cause(error) is not None
