"""What a study keeps: its journal, its split, its list of what was left out. Damage and reading as in `bit_flips`."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from benchmarks import bit_flips
from benchmarks.fuzz.kind import Kind
from benchmarks.fuzz.mutations import flipped
from search.errors import StudyError

_NAMES = {
    "study.log, read": "journals, read",
    "study.log, resumed": "journals, resumed",
    "split.csv": "splits",
    "quarantine.csv": "lists of photos left out",
}


def study_kinds(scratch: Path) -> list[Kind]:
    """scratch: a folder for a small study, which is made first. One bit is turned over: whole lines that are cut off
    leave an earlier state of the same study, which is sound."""
    return [
        Kind(_NAMES[target.name], [target.file.read_bytes()], _one_bit, partial(_read, target), equal=True)
        for target in bit_flips.targets(scratch)
        if target.name in _NAMES
    ]


_one_bit: Callable[[Random, bytes], bytes] = flipped


def _read(target: bit_flips.Target, content: bytes, folder: Path) -> object:
    """Damage that is reported and mended counts as refused."""
    study = folder / target.file.parent.name
    shutil.copytree(target.file.parent, study)
    path = study / target.file.name
    path.write_bytes(content)
    found, told = target.read(path)
    if told and content != target.file.read_bytes():
        raise StudyError("mended, and told of")
    return found
