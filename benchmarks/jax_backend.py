"""JAX beside TensorFlow on a CPU: starting a training with and without kept programs, and whether steps are waited for.

python -m benchmarks.jax_backend, about 6 minutes on 2 idle cores; `--small` takes two. Needs the environment of `make
jax` beside this one. MobileNetV2-0.35 with random weights; the photos are drawn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import finish, judge, machine, quiet, table

ROOT = Path(__file__).resolve().parents[1]
_BATCH = 32


def main() -> None:
    quiet()
    arguments = _parse()
    size_px, steps, rounds = (32, 12, 1) if arguments.small else (96, 40, 3)
    jax_packages = _packages(arguments.jax_python)
    print(f"MobileNetV2-0.35, {size_px} px, batches of {_BATCH}; {jax_packages}; {machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        started = _startups(arguments.jax_python, Path(folder), size_px, rounds)
    columns = ("import_s", "build_s", "compile_s", "epoch_s", "training_s")
    rows = [(name, *(median(run[column] for run in runs) for column in columns)) for name, runs in started.items()]
    titles = ("imports", "building", "compiling", "later epoch", "whole training")
    print(table(("seconds, two stages of two epochs", *titles), rows))
    clocks = _clocks(arguments.jax_python, size_px, steps)
    print()
    print(table(("a step of fit on JAX, clock", "seconds", "started early", "fetched in between"), clocks))
    by_clock = {row[0]: row[1] for row in clocks}
    whole = {name: median(run["compile_s"] for run in runs) for name, runs in started.items()}
    verdicts = [
        judge(
            "seconds of compiling, kept programs against none",
            ours=max(whole["JAX, programs kept before"], 1e-3),
            peer=whole["JAX, none kept"],
            target=3.0,
            smaller_is_better=True,
        ),
        judge(
            "seconds a step, our clock against one that Keras waits for",
            ours=by_clock["ours"],
            peer=by_clock["waited for"],
            target=1.0,
            smaller_is_better=True,
        ),
    ]
    finish("jax_backend", verdicts, step_without_clock_s=round(by_clock["none"], 4), jax=jax_packages)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jax_backend", description=__doc__)
    parser.add_argument("--small", action="store_true", help="32 px, one round")
    parser.add_argument(
        "--jax-python", type=Path, default=ROOT / ".venv-jax/bin/python", help="of the environment of `make jax`"
    )
    return parser.parse_args()


def _child(python: Path | str, backend: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever JSON holds
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python), "-m", "benchmarks.jax_child", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def _packages(python: Path) -> str:
    code = "from importlib.metadata import version as v; print(', '.join(f'{n} {v(n)}' for n in ('jax', 'keras')))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _startups(python: Path, folder: Path, size_px: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    from carcls.demo.sample import write_sample

    photos, kept = folder / "photos", folder / "kept"
    write_sample(photos, train_per_class=16, test_per_class=1)
    found: dict[str, list[dict[str, float]]] = {}

    def train(name: str, backend: str, program: Path | str, cache: Path | str) -> None:
        run = _child(program, backend, "startup", photos, folder / "store", cache, size_px, _BATCH)
        found.setdefault(name, []).append(run)

    _child(python, "jax", "startup", photos, folder / "store", "", size_px, _BATCH)  # fills the store
    for number in range(rounds):
        train("TensorFlow", "tensorflow", sys.executable, "")
        train("JAX, none kept", "jax", python, "")
        train("JAX, keeping them", "jax", python, kept / str(number))
        train("JAX, programs kept before", "jax", python, kept / str(number))
    return found


def _clocks(python: Path, size_px: int, steps: int) -> list[tuple[str, float, str, str]]:
    """(clock, median seconds a step, steps started before the one before had ended, results fetched by the thread that
    trains)."""
    alone = _child(python, "jax", "clock", size_px, _BATCH, steps, 0.0)
    step_s = min(run["step_s"] for run in alone)
    runs = _child(python, "jax", "clock", size_px, _BATCH, steps, step_s / 2)
    rows = []
    for name in ("none", "waited for", "ours"):
        own = [run for run in runs if run["clock"] == name]
        counts = [(run["dispatched_early"], run["fetched_by_the_training_thread"]) for run in own]
        early, fetched = (median(column) if name != "none" else None for column in zip(*counts, strict=True))
        texts = ("–", "–") if early is None else (f"{early:.0f} of {steps}", f"{fetched:.0f} of {steps}")
        rows.append((name, median(run["step_s"] for run in own), *texts))
    return rows


if __name__ == "__main__":
    main()
