"""Finds weights files of known backbones in folders, without loading Keras."""

import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies

from carcls.catalog import backbones_with
from carcls.system.hdf5 import plain_hdf5
from carcls.system.home import home_folder
from carcls.system.zip_files import npy_entry, opened_zip

_log = logging.getLogger(__name__)

_SUFFIXES = (".h5", ".npz")
_SERVER = ("storage.googleapis.com", 443)
"""Where keras.applications keeps the ImageNet weights."""
_ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class WeightsAtHand:
    """A file with the weights of a backbone, without its top."""

    backbone: str
    alpha: float
    path: Path


def weights_in(places: Iterable[Path]) -> tuple[WeightsAtHand, ...]:
    """The files, and the files in the folders, that hold the weights of a known backbone; the first of two copies.

    They are recognised by their number of weights. Whether the shapes fit is checked when they are loaded for training.
    Unreadable files are passed over with a warning.
    """
    found: dict[tuple[str, float], WeightsAtHand] = {}
    for path in _files(places):
        count = weight_count(path)
        for name, alpha in () if count is None else backbones_with(count):
            found.setdefault((name, alpha), WeightsAtHand(name, alpha, path))
    return tuple(found.values())


def keras_models_folder() -> Path:
    """Where Keras keeps downloaded weights: `models` in $KERAS_HOME, else in ~/.keras. Raises HomeError."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else home_folder() / ".keras") / "models"


def weights_server_answers() -> bool:
    """True if a connection to the server of the ImageNet weights can be opened within a few seconds.

    Also with a proxy for HTTPS, through which Keras downloads: only a download tells what it lets through.
    """
    if "https" in getproxies():
        return True
    try:
        with socket.create_connection(_SERVER, timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def weight_count(path: Path) -> int | None:
    """Number of weights in a .h5 or .npz file, or None if it cannot be read, which is logged. Reads no array."""
    try:
        if path.suffix == ".npz":
            with opened_zip(path) as (archive, entries):
                shapes = [npy_entry(archive, info).shape for name, info in entries.items() if name[:-4].isdecimal()]
        else:
            with plain_hdf5(path) as (_, arrays):
                shapes = [array.shape for array in arrays.values()]
    except Exception as error:  # noqa: BLE001 - a damaged file may raise nearly anything, and is merely not used
        _log.warning("%s is not used as weights: it cannot be read (%s: %s)", path, type(error).__name__, error)
        return None
    return sum(math.prod(shape) for shape in shapes)


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(path for path in place.iterdir() if path.suffix in _SUFFIXES and path.is_file())
        elif place.is_file():
            yield place
