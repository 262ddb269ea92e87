"""The audit names swapped labels, and `data.exclude` takes its list."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from carcls.dataset.layouts import Layout
from carcls.dataset.loading import load_dataset
from carcls.errors import DataError
from carcls.scoring.evidence import Evidence
from search.errors import StudyError
from search.policy.records import TrialState
from search.progress.summary import leading_trial
from search.report.audit import write_audit
from search.study.checked_files import split_digest
from search.study.stored_split import read_study_split
from search.study.study import Study
from tests.helpers.search.made_up_study import made_up_study


@pytest.fixture
def audited(tmp_path):
    """A study whose winner is sure of every photo, and contradicts the labels of two."""
    folder, experiment = made_up_study(tmp_path, trials=4, per_class=10)
    study = Study.open(folder.root, read_only=True)
    best = leading_trial(study.records())
    assert best.state is TrialState.COMPLETE
    split = read_study_split(folder, experiment.data.root, split_digest(study))
    labels, classes = split.validation.labels, len(split.class_names)
    answers = labels.copy()
    answers[[1, 6]] = (labels[[1, 6]] + 1) % classes
    probabilities = np.full((len(labels), classes), 0.02, np.float16)
    probabilities[np.arange(len(labels)), answers] = 0.92
    Evidence(probabilities).write(folder.probabilities(best.number, best.best.epoch))
    return folder, experiment, [split.validation.paths[at] for at in (1, 6)]


def test_swapped_labels_are_listed_shown_and_can_be_excluded(audited, tmp_path):
    folder, experiment, swapped = audited
    count, said = write_audit(folder, experiment, tmp_path / "out")
    assert (count, len(said.paths)) == (2, 20)
    with (tmp_path / "out" / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == swapped
    assert {row["probability_of_suggested"] for row in rows} == {"0.9199"}
    page = (tmp_path / "out" / "audit.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2

    layout = Layout(exclude=tmp_path / "out" / "audit.csv")
    every = load_dataset(experiment.data.root, processes=1)
    without = load_dataset(experiment.data.root, processes=1, layout=layout)
    assert set(every.train.paths) - set(without.train.paths) == set(swapped)
    reasons = [entry.reason for entry in without.quarantined]
    assert sum(reason.endswith("excluded by audit.csv") for reason in reasons) == 2


def test_a_list_that_names_no_photo_is_refused(audited, tmp_path):
    _, experiment, _ = audited
    path = tmp_path / "mine.csv"
    path.write_text("path\nabsent.jpg\n")
    with pytest.raises(DataError, match=r"mine.csv:2: 'absent.jpg' is no labelled photo"):
        load_dataset(experiment.data.root, processes=1, layout=Layout(exclude=path))
    path.write_text("file\nabsent.jpg\n")
    with pytest.raises(DataError, match="expected a column 'path', found file"):
        load_dataset(experiment.data.root, processes=1, layout=replace(Layout(), exclude=path))


def test_a_study_without_predictions_says_what_to_do(audited, tmp_path):
    folder, experiment, _ = audited
    for path in folder.trials.glob("*/probabilities/*.npz"):
        path.unlink()
    with pytest.raises(StudyError, match="no predictions to judge labels by"):
        write_audit(folder, experiment, tmp_path)
