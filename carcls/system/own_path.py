"""The current folder is never on the module path: a user's own `search.py` or `keras.py` there is not ours to import.

Python puts it there for `-m` and `-c`, multiprocessing and Ray hand it on to their children, and an empty entry of
PYTHONPATH means it. Only the standard library is imported here, since this runs before anything else.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder from which this package was imported: a checkout, or site-packages."""

_INSTALLED = frozenset(Path(folder) for folder in sysconfig.get_paths().values())


def without_folder(entries: Sequence[str], folder: Path) -> list[str]:
    """Module path entries but for `folder` (absolute); "" stands for the current folder. Pure, but for links.

    Kept all the same where carsearch itself, or Python's own library, lies there.
    """
    if folder.resolve() == ROOT or folder in _INSTALLED:
        return list(entries)
    return [entry for entry in entries if entry and Path(entry).resolve() != folder.resolve()]


def leave_current_folder_out() -> None:
    """For this process from now on, and for each that it starts."""
    sys.path[:] = without_folder(sys.path, _current_folder())
    _change(os.environ)


@contextmanager
def current_folder_left_out() -> Iterator[None]:
    """The same for processes started inside. Afterwards path and environment are as before, for a notebook's sake."""
    path, variables = sys.path[:], {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    leave_current_folder_out()
    try:
        yield
    finally:
        sys.path[:] = path
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _change(environment: MutableMapping[str, str]) -> None:
    environment["PYTHONSAFEPATH"] = "1"
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [str(Path(entry).absolute()) for entry in without_folder(entries, _current_folder())]
    # A checkout that is not installed was found by the current folder, or by a path that only this process has.
    if ROOT not in _INSTALLED and str(ROOT) not in kept:
        kept.insert(0, str(ROOT))
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        environment.pop("PYTHONPATH", None)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was deleted: nothing can be imported from it
        return Path(os.sep)
