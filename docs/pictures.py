"""Draws the README's pictures by the program's own code: `python docs/pictures.py [STUDY]`.

terminal.svg     the live table of a search under way, with scripted values for the space of experiments/demo.yaml
report.png       the report of STUDY, such as results/demo after `make demo`, in Chromium: what it gets wrong
report_dark.png  the same, on dark paper: how it went

Show drawn cars only, never real photos.
"""

import io
import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # called as a script, Python puts docs/ on the path and not the repository

import numpy as np  # noqa: E402 - after the path
from playwright.sync_api import sync_playwright  # noqa: E402
from rich.console import Console  # noqa: E402

from carcls.events import EpochReport, PhaseSeconds  # noqa: E402
from search.experiment.experiment import Experiment, load  # noqa: E402
from search.policy.records import TrialRecord, TrialState  # noqa: E402
from search.progress.status_view import StatusView  # noqa: E402
from search.progress.summary import Spent  # noqa: E402

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


def report_pictures(study: Path, folder: Path) -> None:
    """Screenshots of a study's report: the answer with its photos, and the charts, each on light and dark paper."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, scheme, section in (("report", "light", "#mistakes"), ("report_dark", "dark", "#course")):
            page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
            page.goto((study / "report.html").resolve().as_uri())
            page.locator(section).scroll_into_view_if_needed()
            page.evaluate("section => document.querySelector(section).scrollIntoView()", section)
            page.wait_for_timeout(500)
            page.screenshot(path=folder / f"{name}.png")
        browser.close()


def main(study: Path | None) -> None:
    """Writes the pictures; those of the report only for a given study."""
    experiment = load(ROOT / "experiments" / "demo.yaml")
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    (folder / "terminal.svg").write_text(terminal_svg(experiment, scripted(experiment)), encoding="utf-8")
    if study is not None:
        report_pictures(study, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
