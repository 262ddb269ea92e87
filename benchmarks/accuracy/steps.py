"""The commands of one seed of one data set. Each resumes what an earlier call left, and returns at once if it is done.

Everything that trains is a carsearch command in a process of its own, as users call it.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from search.study.final_scores import read_scores
from search.study.folder import StudyFolder

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one seed of one data set."""

    experiment: Path
    photos: str
    """Name of the data set."""
    root: Path
    """Its photos."""
    seed: int
    holdout: float
    """Share of the labelled photos; 0 for none."""
    minutes: float
    """Of the search."""
    trials: int
    """Of the search, at most."""
    work: Path
    final: str = ""
    """What `folds`, and the arms that change it, set in place of the experiment's `retrain`; empty for nothing."""
    of_hours: bool = False
    """Whether the arms share the search and the final training of the arm hours, in place of ones of their own."""

    @property
    def name(self) -> str:
        return f"{self.photos}_seed{self.seed}"

    @property
    def study(self) -> StudyFolder:
        return self.folder(f"{self.name}_hours" if self.of_hours else self.name)

    def folder(self, name: str) -> StudyFolder:
        return StudyFolder(self.work / "studies" / name)

    def search_options(self, name: str) -> list[str]:
        """`--set` for what differs from the shipped file."""
        changes = [
            f"name={name}",
            f"results={self.work / 'studies'}",
            f"data.root={self.root}",
            f"data.validation.seed={self.seed}",
            f"search.trials={self.trials}",
            f"search.budget.hours={self.minutes / 60:.6f}",
            *([f"data.holdout.fraction={self.holdout:g}"] if self.holdout else []),
        ]
        return [text for change in changes for text in ("--set", change)]


def search(settings: Settings) -> None:
    """The search that all arms share, in `settings.study`, with what its final training changes."""
    options = [*settings.search_options(settings.name), *(("--set", settings.final) if settings.final else ())]
    carsearch("run", str(settings.experiment), *options, "--or-resume")


def whole_run(settings: Settings, name: str, hours: float) -> StudyFolder:
    """`carsearch run --hours`, with a search of its own."""
    options = settings.search_options(name)
    budget = next(place for place, text in enumerate(options) if text.startswith("search.budget.hours"))
    del options[budget - 1 : budget + 1]
    carsearch("run", str(settings.experiment), *options, "--hours", f"{hours:g}", "--or-resume")
    return settings.folder(name)


def train(settings: Settings, file: Path, name: str, *changes: str) -> StudyFolder:
    """`carsearch train` of a recipe with changes."""
    carsearch("train", str(file), *(text for change in changes for text in ("--set", change)))
    return settings.folder(name)


def carsearch(*arguments: str) -> None:
    """Runs a command of carsearch. Raises SystemExit with its code if it fails; ends it first if this process is
    ended."""
    python("search.cli", *arguments)


def python(module: str, *arguments: str) -> None:
    """Runs a module in a process of its own, see `carsearch`."""
    print(f"$ python -m {module} {' '.join(arguments)}", flush=True)
    with _ending_by_sigterm(), subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal has told both
            code = process.wait() or 130
        except SystemExit:
            process.terminate()
            process.wait()
            raise
    if code:
        print(f"ended with exit code {code}: the same call resumes from there", file=sys.stderr)
        raise SystemExit(code)


@contextmanager
def _ending_by_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit within the block."""

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def trained_s(folder: StudyFolder) -> float:
    """Seconds of the final trainings of a study."""
    return read_scores(folder).seconds
