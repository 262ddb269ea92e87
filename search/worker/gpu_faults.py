"""Finds out whether a child died because its GPU failed: TensorFlow and XLA then abort, without an exception."""

from dataclasses import replace
from pathlib import Path

from carcls.backend.device_errors import device_fault
from search.study.folder import StudyFolder
from search.worker.segment import Message, Outcome, Segment

_LAST_BYTES = 16 * 1024
"""Of a child's output, which ends with what made it abort and the stack."""


def with_gpu_fault(message: Message, segment: Segment) -> Message:
    """The message itself or, if a child with a GPU died and its output names a fault of that GPU, the outcome that says
    so."""
    if segment.gpu_share is None or not isinstance(message, Outcome) or message.kind != "killed":
        return message
    folder = StudyFolder(Path(segment.study))
    found = device_fault(_tail(folder.root / folder.output_name(segment.number, segment.attempt)))
    return message if found is None else replace(message, cause=f"{message.cause}: {found}", gpu_fault=True)


def _tail(path: Path) -> str:
    """The last bytes of a file as text; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
