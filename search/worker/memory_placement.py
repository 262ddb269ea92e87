"""Whether the GPU of a trial's process has memory for its batches, before they are trained."""

import logging

from carcls.backend.replicas import can_accumulate, replica_count
from carcls.training.memory_fit import fit_to_memory, granted_bytes
from search.worker.outbox import Outbox
from search.worker.segment import Fitted, Notice, Segment
from search.worker.segment_config import config_of


def fitted_micro_batch(segment: Segment, outbox: Outbox, *, limit_bytes: int | None = None) -> list[int | None]:
    """The photos at once of each stage: those of the segment, or fewer if these are predicted to exceed the memory.

    Call it once the process is set up. limit_bytes: of each GPU; None: what this process was granted. On a CPU, or if
    the memory is unknown, nothing changes. Tells the supervisor and the terminal. Raises OutOfMemoryError if not even
    the smallest micro-batch is predicted to fit.
    """
    if segment.gpu_share is None:
        return segment.micro_batch
    limit = granted_bytes(segment.gpu_share) if limit_bytes is None else limit_bytes
    devices = replica_count()
    if limit is None or (devices > 1 and not can_accumulate()):
        return segment.micro_batch
    config = config_of(segment)
    found = fit_to_memory(
        config,
        segment.micro_batch or [None] * len(config.stages),
        stages=range(segment.first_stage, segment.stop_after_stage + 1),
        limit_bytes=limit,
        devices=devices,
    )
    if found.refusal is None and not found.notes:
        return segment.micro_batch
    outbox.send(Fitted(list(found.micro_batch)))
    for note in found.notes:
        outbox.send(Notice(logging.INFO, f"trial {segment.number}: {note}"))
    if found.refusal is not None:
        raise found.refusal
    return list(found.micro_batch)
