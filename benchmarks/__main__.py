"""Runs benchmarks and writes what they print into docs: python -m benchmarks [NAME ...] [-- ARGUMENTS].

Each runs in a process of its own, one after the other. A benchmark that fails keeps its former section and makes the
exit code 1; one whose claim does not hold is recorded like any other.
"""

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import machine, versions
from benchmarks.page import Run, render, replaced, section, sections, split_output

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
OWN_PAGES = dict.fromkeys(("reliability", "bit_flips", "fuzz"), ROOT / "docs" / "reliability.md")
"""Pages written by hand, with benchmarks' tables as their last sections; the other benchmarks share `PAGE`."""

TITLES = {
    "input": "augmented batches against a tf.data pipeline and against albumentations alone",
    "startup": "from the decision to the first training step",
    "jax_backend": "JAX beside TensorFlow: compiling, and steps that are not waited for",
    "search_cost": "24 trainings by us and by the stock way",
    "head_stage": "32 head trials with and without the store",
    "full_size": "the contest's 15,561 photos",
    "data_check": "the contest's full layout checked",
    "scale": "studies of 100, 1,000 and 10,000 trials",
    "inspect": "a search of 1,000 trials in report and TensorBoard",
    "members": "averaged models against one of their members",
    "policy": "the search policy against Ray's and Optuna's own objects, simulated",
    "real_search": "whole searches in the flesh, equally long",
    "sample_baseline": "how far colours carry on the sample data",
    "reliability": "beside stock Ray Tune, measured",
    "bit_flips": "single bits flipped in what is kept",
    "fuzz": "damaged files of every kind",
}
"""In the page's order."""


def main() -> int:
    arguments = _parse()
    failed = []
    for name in arguments.names or TITLES:
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments.rest]
        shown = " ".join(["python", *command[1:]])
        print(f"\n$ {shown}", flush=True)
        started = time.perf_counter()
        code, output = _run(command)
        try:
            split_output(output)
        except ValueError as error:
            code = code or 1
            print(f"{name}: {error}", file=sys.stderr)
        if code:
            failed.append(name)
            continue
        if arguments.dry_run:
            continue
        run = Run(
            name=name,
            title=TITLES[name],
            command=shown,
            output=output.replace(str(ROOT.parent) + "/", "../"),
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            commit=_commit(),
            machine=machine(),
            versions=versions(),
            seconds=time.perf_counter() - started,
            fenced=name not in OWN_PAGES,
        )
        _record(run)
    if failed:
        print(f"\nfailed, former sections kept: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(TITLES)}; none: all")
    parser.add_argument("--dry-run", action="store_true", help="run, but leave the pages in docs as they are")
    arguments = parser.parse_args(own)
    unknown = [name for name in arguments.names if name not in TITLES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; expected {', '.join(TITLES)}")
    if rest and len(arguments.names) != 1:
        parser.error("arguments after -- are for one benchmark: name it")
    arguments.rest = rest
    return arguments


def _run(command: list[str]) -> tuple[int, str]:
    """Shows the output as it comes; (exit code, standard output)."""
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def _commit() -> str:
    """Short hash, marked where the code differs from it."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    changes = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no", "--", "carcls", "search", "benchmarks"],
        check=True,
        capture_output=True,
        text=True,
    )
    return commit.stdout.strip() + (" with local changes" if changes.stdout.strip() else "")


def _record(run: Run) -> None:
    own = OWN_PAGES.get(run.name)
    if own is not None:
        own.write_text(replaced(own.read_text(encoding="utf-8"), run.name, section(run)), encoding="utf-8")
        return
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(sections(page) | {run.name: section(run)}, list(TITLES)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
