"""Every step on drawn cars: sample data, search, retrain, submission, report, and the submission's accuracy."""

import csv
import time
from collections.abc import Callable
from pathlib import Path

from carcls.demo.sample import write_sample
from carcls.demo.sample_baseline import thumbnail_baseline
from search.driver.create import create_study
from search.experiment.experiment import Experiment, load
from search.start.templates import template_path
from search.study.folder import StudyFolder

TRAIN_PER_CLASS = 80
TEST_PER_CLASS = 30


def run_demo(
    *,
    say: Callable[[str], None],
    search: Callable[[StudyFolder, Experiment], None],
    retrain: Callable[[StudyFolder, Experiment], None],
    submit: Callable[[StudyFolder, Experiment], None],
) -> None:
    """Runs the demo in the current folder, replacing an earlier one, and prints its accuracy on the drawn test cars.

    Raises the errors of its steps.
    """
    started = time.monotonic()
    experiment = load(template_path("demo"))
    root = experiment.data.root
    write_sample(root, train_per_class=TRAIN_PER_CLASS, test_per_class=TEST_PER_CLASS)
    say(f"sample data: {root}")
    folder = create_study(experiment, replace=True)
    search(folder, experiment)
    retrain(folder, experiment)
    submit(folder, experiment)
    say("")
    say(f"accuracy on the drawn test cars: {score(folder.submission, root / 'test_labels.csv'):.3f}")
    say(f"logistic regression on 16x16 thumbnails: {thumbnail_baseline(root):.3f}")
    say(f"TensorBoard: tensorboard --logdir {folder.root}")
    say(f"demo done in {time.monotonic() - started:.0f} s: {folder.root}")


def score(submission: Path, labels: Path) -> float:
    """Share of the rows of `labels` (Id,Category) that the submission predicts correctly."""
    answers, truth = _table(submission), _table(labels)
    return sum(answers[photo_id] == label for photo_id, label in truth.items()) / len(truth)


def _table(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as rows:
        return {row["Id"]: row["Category"] for row in csv.DictReader(rows)}
