"""What a user asks of a search from another process, one file for each request.

Only the driver writes the study's journal, so requests wait in files until it records them. A request that is recorded
twice does no harm: a stop and a promotion to a stage say what should be, and an added trial keeps its request's id.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from carcls.errors import DocumentError
from carcls.system.atomic import published
from carcls.system.documents import MAX_BYTES, parse_json
from search.errors import StudyError
from search.study.folder import StudyFolder

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Stop:
    """End a trial after its running epoch."""

    trial: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Send a trial to the end of a stage, whatever the rungs say."""

    trial: int
    stage: int
    """Counted from 0."""


@dataclass(frozen=True, slots=True)
class Add:
    """Train a configuration of the search space as a new trial."""

    params: dict[str, Any] = field(default_factory=dict)
    """A value for each active parameter, by dotted path."""


Request = Stop | Promote | Add


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["stop", "promote", "add"]
    trial: int = 0
    stage: int = 0
    params: dict[str, str | int | float | bool | None] = {}


def write_request(folder: StudyFolder, request: Request) -> Path:
    """Leaves a request for the driver. Raises OSError if the folder is not writable."""
    content: dict[str, Any]
    match request:
        case Stop(trial):
            content = {"kind": "stop", "trial": trial}
        case Promote(trial, stage):
            content = {"kind": "promote", "trial": trial, "stage": stage}
        case Add(params):
            content = {"kind": "add", "params": params}
    path = folder.requests / f"{new_id()}{_SUFFIX}"
    with published(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return path


def new_id() -> str:
    """An id that no other request of this study has; ids sort by time."""
    return f"{time.time_ns():020d}-{os.getpid()}"


def waiting_requests(folder: StudyFolder) -> Iterator[Path]:
    """Files of requests, the oldest first."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder.requests))
    except OSError:  # no folder: no request was ever made
        return
    for name in names:
        if name.endswith(_SUFFIX) and not name.startswith("."):
            yield folder.requests / name


def read_request(path: Path) -> Request:
    """The request of a file. Raises StudyError if it is none, OSError if it cannot be read."""
    if path.stat().st_size > MAX_BYTES:
        raise StudyError(f"{path}: larger than {MAX_BYTES:,} bytes: no request of 'carsearch trial'")
    try:
        read = _File.model_validate(parse_json(path.read_text(encoding="utf-8"), str(path)))
    except (DocumentError, ValidationError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: no request of 'carsearch trial': {str(error).splitlines()[0]}") from error
    match read.kind:
        case "stop":
            return Stop(read.trial)
        case "promote":
            return Promote(read.trial, read.stage)
        case "add":
            return Add(dict(read.params))
