"""Tries of one group of kinds in a process of its own: python -m benchmarks.fuzz.worker. Lines of JSON: a try's kind
and number before it begins, and all of it once it has ended."""

import argparse
import json
import os
import resource
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.fuzz.kind import Kind
from benchmarks.fuzz.measure import tries
from benchmarks.harness import quiet

_MEMORY_BYTES = 8 * 2**30
"""More than the process has when it begins: a bomb ends as a MemoryError, and not the machine."""


def _data(scratch: Path) -> list[Kind]:
    from benchmarks.fuzz.data_kinds import data_kinds

    return data_kinds()


def _models(scratch: Path) -> list[Kind]:
    from benchmarks.fuzz.model_kinds import model_kinds

    return model_kinds(scratch)


def _studies(scratch: Path) -> list[Kind]:
    from benchmarks.fuzz.study_kinds import study_kinds

    return study_kinds(scratch)


GROUPS: Mapping[str, Callable[[Path], list[Kind]]] = {"data": _data, "models": _models, "studies": _studies}
"""Makes the kinds, and their sound files in an empty folder. One process each: models load TensorFlow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="for each kind")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=json.loads, default={}, help="by kind, where an earlier worker got to")
    arguments = parser.parse_args()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # nothing but answers reaches stdout, whatever the libraries print
    quiet()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        kinds = GROUPS[arguments.group](Path(folder) / "sound")
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY_BYTES, -1))
        for kind in kinds:
            first = arguments.first.get(kind.name, 0)
            ended = tries(
                kind,
                first=first,
                count=arguments.count,
                seconds=arguments.seconds,
                seed=arguments.seed,
                scratch=Path(folder) / "try",
            )
            answer.write(json.dumps({"kind": kind.name, "begins": first}) + "\n")
            for one in ended:
                answer.write(json.dumps({"kind": kind.name, **asdict(one)}) + "\n")
                answer.write(json.dumps({"kind": kind.name, "begins": one.number + 1}) + "\n")


if __name__ == "__main__":
    main()
