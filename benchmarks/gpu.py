"""What one GPU can do, in at most ten minutes: python -m benchmarks.gpu

Keras on JAX with random weights and generated photos; no network. Each step runs in its own process and prints a line
of JSON for each result at once, the most important first, so an interrupted run is useful too. A step that fails prints
its error, and the next one runs. `--small` measures next to nothing, on a CPU.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.gpu_steps import STEPS, Result, Sizes

LIMIT_S = 600.0
ROOT = Path(__file__).resolve().parents[1]


def children(name: str) -> list[list[dict[str, str]]]:
    """Groups of processes of a step, each by what it adds to the environment; the processes of a group run at once."""
    if name == "cache":
        return [[{}], [{}]]
    if name == "share":
        return [[{"GPU_BENCHMARK_SHARE": "0.5"}] * 2, [{"GPU_BENCHMARK_SHARE": "0.25"}] * 4]
    return [[{}]]


def run_step(name: str, extra: Sequence[str], environment: dict[str, str], until_s: float) -> Iterator[Result]:
    """Relays the results of a step's processes as they come."""
    groups = children(name)
    if "--small" in extra and name == "share":  # no GPU to share
        groups = [[{}] * 2]
    for group in groups:
        found: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        started = [_start(name, extra, environment | added, found) for added in group]
        try:
            for _ in started:
                while (result := found.get(timeout=max(1.0, until_s - time.monotonic()))) is not None:
                    yield {"step": name, **result}
        except queue.Empty:
            yield {"step": name, "error": "out of time"}
        finally:
            for process in started:
                process.kill()


def _start(
    name: str, extra: Sequence[str], environment: dict[str, str], found: "queue.SimpleQueue[Result | None]"
) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", "--child", name, *extra],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    threading.Thread(target=_relay, args=(process, found), daemon=True).start()
    return process


def _relay(process: "subprocess.Popen[str]", found: "queue.SimpleQueue[Result | None]") -> None:
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    for line in process.stdout or ():
        if line.startswith("{"):
            found.put(json.loads(line))
    reader.join()
    if process.wait():
        found.put({"error": (errors or [f"exit status {process.returncode}"])[-1].strip()[:500]})
    found.put(None)


def main() -> int:
    """Runs the steps, or one of them if this is its process. Returns 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="next to nothing, on a CPU")
    parser.add_argument("--steps", default=",".join(step.__name__ for step in STEPS), help="comma-separated names")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if given.child:
        for result in next(step for step in STEPS if step.__name__ == given.child)(Sizes(given.small)):
            print(json.dumps(result), flush=True)
        return 0
    until_s, failed = time.monotonic() + LIMIT_S, False
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ) | {"GPU_BENCHMARK_CACHE": folder}
        for name in given.steps.split(","):
            started = time.monotonic()
            for result in run_step(name, ["--small"] * given.small, environment, until_s):
                failed |= "error" in result
                print(json.dumps(result), flush=True)
            print(json.dumps({"step": name, "took_s": round(time.monotonic() - started, 1)}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
