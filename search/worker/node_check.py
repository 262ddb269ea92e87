"""Checks before a process's first segment that its node can run the search: its version and its photos.

Nodes may join a cluster at any time, so the check runs where the segment runs, before its child starts.
"""

import csv
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from carcls.errors import DataError
from carcls.system.csv_cells import unescape_cell
from search.experiment.node_store import photos_folder
from search.experiment.settings import StoreSettings
from search.worker.segment import Outcome, Segment

VERSION, PHOTOS = "version", "photos"
"""Names in `Segment.requires`."""

_passed: set[tuple[str, str]] = set()
"""Studies, with their extra photos, whose check this process has passed."""


def requirements(split: Path, data_root: Path) -> dict[str, str]:
    """What each node must have, as the driver has it. Raises OSError if a photo cannot be found."""
    return {VERSION: version("carsearch"), PHOTOS: data_fingerprint(split, data_root)}


def node_fault(segment: Segment) -> Outcome | None:
    """Why this node cannot run the segment, or None if it can. Checked once per process and study.

    Weights, framework and GPU are not checked here: the segment's child reports them as it starts.
    """
    check = (segment.study, segment.extra_root)
    if not segment.requires or check in _passed:
        return None
    settings = StoreSettings.model_validate(segment.store)
    problem = unmet(segment.requires, Path(segment.study) / "split.csv", segment.data_root, settings)
    problem = problem or _extra_problem(segment.extra_root, settings)
    if problem:
        return Outcome("unfit", problem)
    _passed.add(check)
    return None


def _extra_problem(root: str, store: StoreSettings) -> str | None:
    """Why this node lacks the extra photos, or None. Those at a URL are copied here first, before a deadline counts."""
    try:
        folder = photos_folder(root, store) if root else None
    except (DataError, OSError) as error:
        return f"data.extra: {error}"
    return None if folder is None or folder.is_dir() else f"data.extra: no such folder: {folder}"


def unmet(requires: Mapping[str, str], split: Path, data_root: str, store: StoreSettings) -> str | None:
    """What this node lacks, as a clause, or None."""
    ours = version("carsearch")
    if requires[VERSION] != ours:
        return f"has carsearch {ours}, the driver {requires[VERSION]}: install the same version"
    try:
        found = data_fingerprint(split, photos_folder(data_root, store))
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror}: {error.filename} (results and data must be at the same path on every node)"
    if found != requires[PHOTOS]:
        return "its photos differ from the driver's (sizes or names): data.root must hold the same files"
    return None


def data_fingerprint(split: Path, data_root: Path) -> str:
    """Hash of the names and sizes of all photos of the split: cheap, and different if a node has other files."""
    digest = hashlib.blake2b(digest_size=16)
    with split.open(newline="", encoding="utf-8", errors="surrogateescape") as rows:  # names may not be UTF-8
        for row in csv.DictReader(rows):
            path = unescape_cell(row["path"])
            size = (data_root / path).stat().st_size
            digest.update(f"{path}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
