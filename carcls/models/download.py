"""Downloads published weights into Keras's cache: once per node, atomically, with checksum, progress and retries."""

import hashlib
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Self, TextIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from filelock import FileLock

# Keras has no public name for the folder where keras.applications stores its files.
from keras.src.backend.config import keras_home

from carcls.errors import WeightsError
from carcls.models.backbone_rows import WeightsFile
from carcls.system.atomic import published

RETRY_DELAYS_S = (1.0, 4.0)
"""Delays before the second and the third, last attempt."""
_SILENCE_S = 30.0
"""Timeout for a server that sends nothing."""
_CHUNK_BYTES = 2**20
_SHA256_DIGITS = 64
_HTTP_SERVER_ERROR = 500
_HTTP_TRY_AGAIN = (408, 425, 429)


class _DamagedError(Exception):
    """The downloaded bytes are not the expected file."""


_FAILURES = (OSError, HTTPException, _DamagedError)
"""Failures of a download: network and disk errors, protocol errors, wrong bytes."""


def cached(file: WeightsFile) -> Path:
    """The file in Keras's cache, downloaded if missing or damaged. Other processes of the node wait.

    Reads the whole file on every call to verify its digest. Progress goes to stderr. Raises WeightsError, in one line,
    if the file cannot be downloaded.
    """
    folder = Path(keras_home()) / "models"
    target = folder / file.name
    problem: str | None = f"{target} cannot be read"
    try:
        problem = _problem(file, target)
        if problem is None:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{file.name}.lock"):
            problem = _problem(file, target)  # another process may have downloaded it meanwhile
            if problem is not None:
                _say(f"{problem}; downloading {file.url}")
                _fetch(file, target)
    except _FAILURES as error:
        raise WeightsError(
            f"ImageNet weights: {problem}, and could not be downloaded ({_reason(error)});"
            f" download {file.url} elsewhere and put it into {folder}, or set `weights` to a path"
        ) from error
    return target


def _problem(file: WeightsFile, target: Path) -> str | None:
    """Why `target` cannot be used, or None if it can."""
    if not target.is_file():
        return f"{file.name} is not in {target.parent}"
    if file.digest is None:
        return None
    algorithm = _algorithm(file)
    with target.open("rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    return None if found == file.digest else f"{target} is damaged: its {algorithm} is {found}, expected {file.digest}"


def _fetch(file: WeightsFile, target: Path) -> None:
    """Downloads to `target`. Temporary failures are retried from the start."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return _fetch_once(file, target)
        except _FAILURES as error:
            if not _may_pass(error):
                raise
            _say(f"{file.name}: {_reason(error)}; trying again in {delay_s:g} s")
            time.sleep(delay_s)
    return _fetch_once(file, target)


def _fetch_once(file: WeightsFile, target: Path) -> None:
    digest = hashlib.new(_algorithm(file))
    with (
        published(target) as temporary,
        urlopen(file.url, timeout=_SILENCE_S) as response,  # noqa: S310 (addresses are Keras's own, all https)
        temporary.open("wb") as stream,
    ):
        total = int(response.headers.get("Content-Length") or 0)
        received = 0
        with Progress(file.name, total, sys.stderr) as progress:
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                progress.show(received)
        if total and received != total:
            raise _DamagedError(f"the connection broke after {received:,} of {total:,} bytes")
        if file.digest is not None and digest.hexdigest() != file.digest:
            raise _DamagedError(f"its {digest.name} is {digest.hexdigest()}, expected {file.digest}")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed: true for network errors, false for this machine's disk."""
    if isinstance(error, HTTPError):
        return error.code >= _HTTP_SERVER_ERROR or error.code in _HTTP_TRY_AGAIN
    return isinstance(error, URLError | TimeoutError | ConnectionError | HTTPException | _DamagedError)


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _algorithm(file: WeightsFile) -> str:
    return "sha256" if file.digest is not None and len(file.digest) == _SHA256_DIGITS else "md5"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class Progress:
    """Progress of a download: one updating line in a terminal, one line per quarter in a log.

    Prints nothing if the size is unknown (0).
    """

    def __init__(self, name: str, total_bytes: int, stream: TextIO) -> None:
        self._name = name
        self._total_bytes = total_bytes
        self._stream = stream
        self._in_place = stream.isatty()
        self._steps = 100 if self._in_place else 4
        self._shown = 0

    def show(self, received_bytes: int) -> None:
        """Prints progress if it has advanced by a step."""
        step = received_bytes * self._steps // self._total_bytes if self._total_bytes else 0
        if step == self._shown:
            return
        self._shown = step
        text = f"{self._name}: {step * 100 // self._steps} % of {self._total_bytes / 1e6:.0f} MB"
        self._stream.write("\r" + text if self._in_place else text + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._in_place and self._shown:
            self._stream.write("\n")
