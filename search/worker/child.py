"""Runs one segment in its own process. The fork server preloads this module, and TensorFlow with it."""

import contextlib
import gc
import logging
import os
import platform
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from carcls.backend import devices
from carcls.backend.compile_cache import CompileCache
from carcls.backend.device_errors import is_device_error
from carcls.backend.gpu_access import VISIBLE
from carcls.backend.memory_errors import is_ambiguous, is_out_of_memory
from carcls.backend.replicas import can_accumulate
from carcls.errors import (
    CarclsError,
    CheckpointError,
    DamagedStoreError,
    DataError,
    DeviceError,
    HandedOverError,
    MisfitError,
    OutOfMemoryError,
    PartError,
    TrainingError,
    WeightsError,
)
from carcls.events import EpochReport
from carcls.input.batch_worker import serve
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.training_data import TrainingData
from carcls.splits.k_folds import EVERY_PHOTO
from carcls.system.atomic import is_full_disk, unreachable_cause
from carcls.system.nvml import GpuMeter, load_nvml
from carcls.training.epoch_files import newest_intact, position_of
from carcls.training.epoch_parts import Pauses
from carcls.training.fine_tuning import fine_tune, stage_batches
from carcls.training.part_files import part_after, part_line
from carcls.training.position import Position
from carcls.training.retention import epoch_of
from search.errors import SearchError
from search.experiment.node_store import open_store, photos_folder
from search.experiment.settings import StoreSettings
from search.study.folder import StudyFolder
from search.worker.gpu_names import granted_gpus
from search.worker.lifeline import HAND_OVER
from search.worker.machine_memory import peak_memory_bytes
from search.worker.memory_placement import fitted_micro_batch
from search.worker.outbox import Outbox, send_notices
from search.worker.segment import Fallback, Granted, Notice, Outcome, Segment
from search.worker.segment_config import config_of
from search.worker.segment_photos import segment_photos

_PIECE_BYTES = 1 << 20

Work = Callable[[Outbox, BatchWorkerServer | None], None]
"""The work of a child: it sends messages through the outbox, and gets its batch workers from the batch_server."""


def run_training(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Trains the segment in this process."""
    study = StudyFolder(Path(segment.study))
    run_in_child(
        partial(_train, segment, study),
        messages,
        lifeline,
        threads=segment.threads,
        output=study.root / study.output_name(segment.number, segment.attempt),
        outcome_of=_outcome_on_cluster if segment.requires else outcome_of,
    )


def _outcome_on_cluster(error: Exception) -> Outcome:
    """As `outcome_of`, but a GPU that cannot be used is its node's fault, which another node may not have."""
    if isinstance(error, DeviceError):
        return Outcome("unfit", str(error).splitlines()[0], user_message=str(error), gpu_fault=True)
    return outcome_of(error)


def run_in_child(
    work: Work,
    messages: Connection,
    lifeline: Connection,
    *,
    threads: int,
    output: Path,
    outcome_of: Callable[[Exception], Outcome],
) -> None:
    """Runs `work` in this process and sends its outcome as the last message.

    The only broad except of a trial is here: it records the error, and the search continues.

    threads: with more than 1, batch workers are forked. output: file that stdout and stderr are appended to.
    outcome_of: the outcome of an error.
    """
    # What the fork server imported lives as long as this process, so collections can skip it (0.3 s each).
    gc.freeze()
    # Before anything else: to fork, this process must have one thread, and must not have run TensorFlow.
    batch_server = BatchWorkerServer.forked(serve) if threads > 1 else None
    outbox = Outbox(messages)
    threading.Thread(target=_follow_supervisor, args=(lifeline, outbox), daemon=True).start()
    send_notices(outbox)
    try:
        _redirect_output(output)
        work(outbox, batch_server)
    except Exception as error:  # noqa: BLE001 - the trial boundary: every error is recorded as data
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
        outbox.send(outcome_of(error))
    else:
        outbox.send(Outcome("ended", peak_memory_bytes=peak_memory_bytes()))
    outbox.close()


def _follow_supervisor(lifeline: Connection, outbox: Outbox) -> None:
    """Passes on acknowledgements and the wish to hand over, and ends this process at once when the supervisor is gone.
    Checkpoints are atomic, so nothing is damaged."""
    with contextlib.suppress(EOFError, OSError):
        while received := lifeline.recv_bytes():
            if received == HAND_OVER:
                outbox.hand_over.set()
            else:
                outbox.acknowledge()
    os._exit(1)


def _redirect_output(path: Path) -> None:
    """Redirects stdout and stderr, including C++'s, to a file in the trial's folder. Raises OSError."""
    # Creates only the trial's own two folders: if the file system is unmounted, the study must not reappear elsewhere.
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _train(segment: Segment, study: StudyFolder, outbox: Outbox, batch_server: BatchWorkerServer | None) -> None:
    gpus = granted_gpus(os.environ, gpu_share=segment.gpu_share, gpu=segment.gpu, node=platform.node())
    if gpus is not None:
        outbox.send(Granted(gpus))
    devices.configure(
        threads=segment.threads,
        deterministic=segment.deterministic,
        gpu_memory_share=_usable_gpus(segment, outbox),
        gpu=segment.gpu,
        compiled=compile_cache(segment.store),
    )
    micro_batch = fitted_micro_batch(segment, outbox) or None
    settings = StoreSettings.model_validate(segment.store)
    photos, store = photos_folder(segment.data_root, settings), open_store(settings)
    split, shared = segment_photos(
        segment,
        study,
        photos,
        store,
        at_once=min(filter(None, micro_batch or ()), default=None),
        tell=lambda level, text: outbox.send(Notice(level, text)),
    )
    resume = _resumable(segment, study, outbox)
    config, count = config_of(segment), len(split.train)
    every_s = None if segment.checkpoint_minutes is None else 60 * segment.checkpoint_minutes
    with GpuMeter(load_nvml() if gpus else None, os.environ.get(VISIBLE, "0").split(",")) as meter:
        fine_tune(
            config,
            TrainingData(
                split=split,
                store=store,
                view_seed=segment.view_seed,
                processes=segment.threads,
                batch_server=batch_server,
                shared=shared,
            ),
            partial(_report, outbox, meter),
            folder=study.trial(segment.number),
            attempt=segment.attempt,
            resume=resume,
            part=_part(
                segment, study, outbox, resume, lambda stage: stage_batches(config, stage, micro_batch, photos=count)[1]
            ),
            pauses=Pauses(every_s, outbox.hand_over.is_set),
            stop_after_stage=segment.stop_after_stage,
            micro_batch=micro_batch,
            rank_by=segment.rank_by,
            averages=segment.averages,
            without_validation=segment.fold == EVERY_PHOTO,
        )


def _report(outbox: Outbox, meter: GpuMeter, report: EpochReport) -> None:
    """Sends an epoch with what the GPUs did since the one before."""
    outbox.report(replace(report, gpus=meter.take()))


def _usable_gpus(segment: Segment, outbox: Outbox) -> float | None:
    """The segment's GPUs, or one of them where batches in parts cannot be trained on several."""
    gpus = segment.gpu_share
    if gpus is None or gpus <= 1.0 or not any(segment.micro_batch) or can_accumulate():
        return gpus
    text = f"trial {segment.number}: batches in parts train on one of its {gpus:g} GPUs, because TensorFlow's"
    outbox.send(Notice(logging.WARNING, f"{text} MirroredStrategy cannot accumulate gradients; JAX can"))
    return 1.0


def compile_cache(settings: Mapping[str, Any]) -> CompileCache | None:
    """Where this node's store keeps compiled programs, or None without a store. settings: as in `Segment.store`."""
    place = open_store(StoreSettings.model_validate(settings)).compiled_programs
    return None if place is None else CompileCache(*place)


def _resumable(segment: Segment, study: StudyFolder, outbox: Outbox) -> str | None:
    """The segment's checkpoint, or an earlier one if it is lost, or None to start again.

    A fallback is sent to the driver, which discards the epochs recorded since, and is printed. Raises OSError if the
    checkpoint exists but cannot be read now: it is not lost, so no finished epoch is discarded.
    """
    if segment.resume is None:
        return None
    with contextlib.suppress(FileNotFoundError), (study.trial(segment.number) / segment.resume).open("rb") as file:
        while file.read(_PIECE_BYTES):
            pass
    name, lost = newest_intact(study.trial(segment.number), segment.resume, with_best=segment.needs_best)
    if lost:
        text = f"trial {segment.number}: {'; '.join(lost)}: {f'resumes from {name}' if name else 'starts again'}"
        sys.stdout.write(f"{text}\n")
        outbox.send(Notice(logging.WARNING, text))
        stands = position_of(study.trial(segment.number), name) if name else Position()
        outbox.send(Fallback(stands.epoch, stands.next_stage))
    return name


def _part(
    segment: Segment, study: StudyFolder, outbox: Outbox, resume: str | None, fill_of: Callable[[int], int | None]
) -> str | None:
    """The saved part of the epoch after `resume`, or None. Tells the driver what is used and what cannot be used.

    fill_of: as in `part_after`.
    """
    folder = study.trial(segment.number)
    name, unusable = part_after(folder, resume, (epoch_of(resume) if resume else 0) + 1, fill_of=fill_of)
    for line in unusable:
        outbox.send(Notice(logging.WARNING, f"trial {segment.number}: {line}: that epoch starts again"))
    if name:
        outbox.send(Notice(logging.INFO, f"trial {segment.number} {part_line(folder, name)}"))
    return name


def outcome_of(error: Exception) -> Outcome:
    """Classifies an error: full disk, out of memory, a broken GPU, a CUDA library that a new process may start, a
    damaged store that a new process rebuilds, an infeasible configuration, unavailable files that every trial needs, a
    training that was saved to continue elsewhere, or a failure of the program or, by a DeviceError, of its machine."""
    if isinstance(error, HandedOverError):
        return Outcome("preempted", str(error))
    cause = f"{type(error).__name__}: {error}".splitlines()[0]
    user_message = str(error) if isinstance(error, CarclsError | SearchError) else None
    if is_full_disk(error):
        return Outcome("disk_full", cause, user_message=user_message)
    if isinstance(error, OutOfMemoryError) or is_out_of_memory(error):
        return Outcome("out_of_memory", cause, stage=getattr(error, "stage", None), user_message=user_message)
    gpu_fault = isinstance(error, DeviceError) or is_device_error(error)
    return Outcome(_kind_of(error, gpu_fault=gpu_fault), cause, user_message=user_message, gpu_fault=gpu_fault)


def _kind_of(
    error: Exception, *, gpu_fault: bool
) -> Literal["killed", "doubtful", "infeasible", "unavailable", "failed"]:
    """What is left after disk and memory."""
    if isinstance(error, DamagedStoreError):  # the damaged artefact was removed, so a new process rebuilds it
        return "killed"
    if isinstance(error, TrainingError):
        return "infeasible"
    if gpu_fault and not isinstance(error, DeviceError):  # a new process may be able to use the GPU again
        return "killed"
    if is_ambiguous(error):
        return "doubtful"
    return "unavailable" if _concerns_all(error) else "failed"


def _concerns_all(error: Exception) -> bool:
    """True if the error is about photos, split, weights or storage, which all trials share."""
    if isinstance(error, MisfitError | PartError):
        return False
    return isinstance(error, DataError | WeightsError | CheckpointError) or unreachable_cause(error) is not None
