"""Draws the README's two pictures by the program's own code: `python docs/pictures.py [STUDY]`.

terminal.svg  the live table of a search under way
report.svg    the curves of the report

Without a study both show scripted values for the space of experiments/demo.yaml. With one, such as results/demo after
`make demo`, the report's curves are that study's; then say so in the README. Show drawn cars only, never real photos.
"""

import io
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # called as a script, Python puts docs/ on the path and not the repository

import numpy as np  # noqa: E402 - after the path
from rich.console import Console  # noqa: E402

from carcls.events import EpochReport, PhaseSeconds  # noqa: E402
from search.experiment.experiment import Experiment, load  # noqa: E402
from search.policy.records import TrialRecord, TrialState  # noqa: E402
from search.progress.status_view import StatusView  # noqa: E402
from search.progress.summary import Spent  # noqa: E402
from search.report import report_data  # noqa: E402
from search.report.charts import curves_svg  # noqa: E402
from search.study.study import Study  # noqa: E402

EPOCHS = (0, 3, 5, 6, 8)
"""Epochs of the scripted trials after no, one, two, three and all four stages."""

_SCRIPT = (
    # (accuracy at the end, stages trained, state)
    (0.93, 4, TrialState.COMPLETE),
    (0.62, 1, TrialState.PAUSED),
    (0.95, 4, TrialState.COMPLETE),
    (0.71, 1, TrialState.PAUSED),
    (0.88, 3, TrialState.PAUSED),
    (0.90, 3, TrialState.RUNNING),
    (0.79, 1, TrialState.RUNNING),
)


def scripted(experiment: Experiment) -> tuple[TrialRecord, ...]:
    """A search under way: drawn parameters, made-up accuracies that climb with each stage."""
    rng = np.random.default_rng(0)
    return tuple(
        TrialRecord(
            number=number,
            params=dict(experiment.baseline) if number == 0 else experiment.space.sample(rng),
            state=state,
            stage_count=4,
            reports=_reports(best, EPOCHS[stages]),
            attempts=1,
            infeasible=False,
            cause=None,
            is_baseline=number == 0,
        )
        for number, (best, stages, state) in enumerate(_SCRIPT)
    )


def _reports(best: float, epochs: int) -> tuple[EpochReport, ...]:
    return tuple(_report(epoch, best * (1 - 0.75 * np.exp(-epoch / 2.2))) for epoch in range(1, epochs + 1))


def _report(epoch: int, accuracy: float) -> EpochReport:
    stage = next(stage for stage, end in enumerate(EPOCHS[1:]) if epoch <= end)
    return EpochReport(
        epoch=epoch,
        stage=stage,
        stage_name=("head", "half", "most", "full")[stage],
        stage_epoch=epoch - EPOCHS[stage],
        stage_ended=epoch == EPOCHS[stage + 1],
        train_loss=1.0,
        train_accuracy=accuracy,
        val_log_loss=2.0 * (1 - accuracy),
        val_accuracy=accuracy,
        val_macro_f1=accuracy,
        learning_rate=1e-3,
        image_size=96,
        images_per_s=380.0 - 70.0 * stage,
        trainable_parameters=400_000,
        seconds=PhaseSeconds(train=3.0, validate=0.5, build=0.25),
        checkpoint="",
        best_weights="",
    )


def terminal_svg(experiment: Experiment, records: tuple[TrialRecord, ...]) -> str:
    """The live table as `carsearch run` shows it."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print(
        StatusView(experiment.name, records, Spent(device_hours=0.03, device="trial", trials_limit=8, elapsed_s=66.0))
    )
    drawn = console.export_svg(title="carsearch run experiments/demo.yaml", unique_id="carsearch")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # the fonts that rich names lie on the web


def report_svg(experiment: Experiment, records: tuple[TrialRecord, ...]) -> str:
    """The report's chart of all trials, on white: there `currentColor` has no page to take its colour from."""
    data = report_data(name=experiment.name, experiment_text="", records=records, validation_photos=None)
    head, tag_end, rest = curves_svg(data.curves).partition(">")
    named = head if "xmlns=" in head else f'{head} xmlns="http://www.w3.org/2000/svg"'
    return f'{named}{tag_end}<rect width="100%" height="100%" fill="white"/>{rest}'


def main(study: Path | None) -> None:
    """Writes both pictures."""
    experiment = load(ROOT / "experiments" / "demo.yaml")
    records = scripted(experiment)
    shown = Study.open(study, read_only=True).records() if study else records
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    (folder / "terminal.svg").write_text(terminal_svg(experiment, records), encoding="utf-8")
    (folder / "report.svg").write_text(report_svg(experiment, shown), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
