"""A fixed recipe with a holdout, from its split to its submission."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from carcls.events import best_report
from carcls.splits.split_files import read_split
from search.driver.create import create_recipe_folder
from search.experiment.experiment import load
from search.final.final_study import final_reports
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES, FIXED, TEST_PER_CLASS, VALIDATION_PHOTOS, write_tiny

HELD_OUT = FIXED.replace("seed: 0}}", "seed: 0}, holdout: {fraction: 0.17}}")
JUDGES = CLASSES * 2
"""0.17 of 12 a class, rounded."""


def test_a_study_holds_back_what_its_file_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = create_recipe_folder(load(write_tiny(tmp_path, FIXED)))
    held_out = create_recipe_folder(load(write_tiny(tmp_path, HELD_OUT.replace("name: tiny", "name: held_out"))))
    alone, split = (read_split(folder.split, tmp_path / "data") for folder in (plain, held_out))
    assert alone.holdout is None
    assert split.validation == alone.validation
    assert split.holdout is not None
    assert len(split.holdout) == JUDGES
    assert sorted(split.train.ids + split.holdout.ids) == sorted(alone.train.ids)


def ran(cwd: Path, *arguments: str) -> None:
    done = run_cli(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_holdout_stays_out_of_the_final_training_and_of_its_scores(tmp_path: Path) -> None:
    write_tiny(tmp_path, HELD_OUT)
    ran(tmp_path, "train", "tiny.yaml")
    folder = StudyFolder(tmp_path / "results" / "tiny")
    with folder.split.open(encoding="utf-8", newline="") as rows:
        assert Counter(row["fold"] for row in csv.DictReader(rows)) == {
            "train": 36 - VALIDATION_PHOTOS - JUDGES,
            "validation": VALIDATION_PHOTOS,
            "holdout": JUDGES,
        }
    (reports,), scores = final_reports(folder), read_scores(folder)
    for report in reports:
        assert report.holdout_accuracy is not None
        correct = report.holdout_accuracy * JUDGES
        assert correct == pytest.approx(round(correct), abs=1e-6)
        trained = report.images_per_s * report.seconds.train
        assert trained == pytest.approx(36 - VALIDATION_PHOTOS - JUDGES)
    assert scores.validation_photos == VALIDATION_PHOTOS
    assert scores.best_epoch == best_report(reports).epoch
    ran(tmp_path, "submit", "results/tiny")
    assert len(folder.submission.read_text(encoding="utf-8").splitlines()) == 1 + CLASSES * TEST_PER_CLASS
    recipe = load(folder.recipe)
    assert recipe.data.holdout_fraction == 0.17
