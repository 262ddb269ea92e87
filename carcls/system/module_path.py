"""Keeps the current folder off the module path, so that a user's own `search.py` or `keras.py` is never imported.

Python adds it for `-m` and `-c`, multiprocessing and Ray pass it on to child processes, and an empty entry in
PYTHONPATH means it. This module imports only the standard library, since it runs before anything else.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder from which this package was imported: a checkout or site-packages."""

_INSTALLED = frozenset(Path(folder) for folder in sysconfig.get_paths().values())


def entries_without(entries: Sequence[str], folder: Path) -> list[str]:
    """Module path entries without `folder` (absolute). An empty entry means the current folder and is dropped too.

    Nothing is dropped if carsearch itself or Python's own library is in that folder. Pure, apart from resolving links.
    """
    if folder.resolve() == ROOT or folder in _INSTALLED:
        return list(entries)
    return [entry for entry in entries if entry and Path(entry).resolve() != folder.resolve()]


def remove_current_folder() -> None:
    """Removes the current folder from the module path of this process and of all processes that it starts."""
    sys.path[:] = entries_without(sys.path, _current_folder())
    _change(os.environ)


@contextmanager
def without_current_folder() -> Iterator[None]:
    """The same within the block only: a notebook keeps its own module path afterwards."""
    path, variables = sys.path[:], {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    remove_current_folder()
    try:
        yield
    finally:
        sys.path[:] = path
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _change(environment: MutableMapping[str, str]) -> None:
    environment["PYTHONSAFEPATH"] = "1"
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [str(Path(entry).absolute()) for entry in entries_without(entries, _current_folder())]
    # A checkout that is not installed was found through the current folder or a path that only this process has.
    if ROOT not in _INSTALLED and str(ROOT) not in kept:
        kept.insert(0, str(ROOT))
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        environment.pop("PYTHONPATH", None)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # the folder was deleted: nothing can be imported from it
        return Path(os.sep)
