"""Damages files of every kind and counts what becomes of them: python -m benchmarks.fuzz, about eight minutes.

`refused`: an error that names what is wrong. `harmless`: read, and nothing that was promised of it is broken; where the
file has a checksum, read as the sound one. `silent`: read as something else, or something was done that must not be.
`traceback`: an error that is not for a user, the reader's death, or a try that does not end within a minute. What was
silent or a traceback is printed with its number, and makes the exit code 1.
"""

import argparse
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

from benchmarks.fuzz.kind import ENDS
from benchmarks.fuzz.measure import Figures
from benchmarks.fuzz.worker import GROUPS

_STALLED_S = 60.0
_START_S = 300.0
"""For a worker's imports, and its sound files."""


def group_figures(group: str, *, count: int, seconds: float, seed: int) -> list[Figures]:
    """Of one group, in order. A worker that dies or stalls is a traceback; another goes on after it."""
    figures: dict[str, Figures] = {}
    first: dict[str, int] = {}
    while True:
        current = None
        for line in _lines(group, count, seconds, seed, first):
            kind = figures.setdefault(line["kind"], Figures(line["kind"]))
            if "begins" in line:
                current = (kind, line["begins"])
            else:
                kind.add(line["number"], line["end"], line["text"], line["seconds"], line["mb"])
            if line.get("over"):
                return list(figures.values())
        if current is None:
            raise RuntimeError(f"the worker of {group} said nothing; run python -m benchmarks.fuzz.worker {group}")
        kind, number = current
        kind.add(number, "traceback", "the reader died, or did not end", _STALLED_S, 0.0)
        first |= {name: count for name in figures if name != kind.name} | {kind.name: number + 1}


def _lines(group: str, count: int, seconds: float, seed: int, first: dict[str, int]) -> Iterator[dict]:
    """What a worker says, until it ends, dies or falls silent; the last line of one that got through has `over`."""
    command = [sys.executable, "-m", "benchmarks.fuzz.worker", group, f"--count={count}", f"--seconds={seconds}"]
    command += [f"--seed={seed}", f"--first={json.dumps(first)}"]
    said: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
        reader = threading.Thread(target=lambda: [said.put(line) for line in (*worker.stdout, "")], daemon=True)
        reader.start()
        patience_s, last = _START_S, {}
        while True:
            try:
                text = said.get(timeout=patience_s)
            except queue.Empty:
                worker.kill()
                break
            if not text:
                break
            last, patience_s = json.loads(text), _STALLED_S
            yield last
        if worker.wait() == 0 and last:
            yield {**last, "over": True}


def table(figures: list[Figures]) -> str:
    """As Markdown."""
    rows = [
        f"| {one.name} | {one.tried:,} | {' | '.join(f'{one.ends[end]:,}' for end in ENDS)}"
        f" | {one.worst_s:.1f} | {one.worst_mb:,.0f} |"
        for one in figures
    ]
    head = f"| file | tried | {' | '.join(ENDS)} | worst s | worst MB |"
    return "\n".join((head, "|---|" + "---|" * (len(ENDS) + 3), *rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; none: all")
    parser.add_argument("--count", type=int, default=2000, help="tries of each kind")
    parser.add_argument("--seconds", type=float, default=30.0, help="after which no try of a kind begins")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; expected {', '.join(GROUPS)}")
    figures = [
        one
        for group in arguments.groups or GROUPS
        for one in group_figures(group, count=arguments.count, seconds=arguments.seconds, seed=arguments.seed)
    ]
    print(table(figures))
    for one in figures:
        for text in one.bad:
            print(text, file=sys.stderr)
    bad = sum(one.ends[end] for one in figures for end in ("silent", "traceback"))
    line = {end: sum(one.ends[end] for one in figures) for end in ENDS}
    print(json.dumps({"name": "fuzz", "tried": sum(line.values()), **line, "holds": not bad}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
