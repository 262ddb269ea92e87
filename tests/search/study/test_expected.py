"""What is told of the accuracy to expect, from the files of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.dataset.table import ImageTable
from carcls.scoring.evidence import Evidence
from carcls.splits.split import Split
from carcls.splits.split_files import write_split
from search.final.expected_accuracy import of_folds, of_one
from search.study.expected import expected_winner, luck_of_choice
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.trial_builders import climb

CONFIG = TrainConfig(
    backbone="MobileNetV2",
    alpha=0.35,
    weights="none",
    image_size=32,
    batch_size=4,
    stages=tuple(StageConfig(name=name, unfreeze=0.5, epochs=1, learning_rate=1e-3) for name in ("a", "b", "c")),
)
PHOTOS, CLASSES = 120, 4
LABELS = np.arange(PHOTOS) % CLASSES


def table(labels: np.ndarray, start: int) -> ImageTable:
    names = [str(number) for number in range(start, start + len(labels))]
    return ImageTable(Path("r"), tuple(names), tuple(names), labels, tuple(f"{int(name):032x}" for name in names))


def said(seed: int, right: float) -> np.ndarray:
    """Probabilities of a model that has this share of the photos right, by chance which."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(PHOTOS, CLASSES))
    hit = rng.random(PHOTOS) < right
    logits[np.arange(PHOTOS), np.where(hit, LABELS, (LABELS + 1) % CLASSES)] += 5.0
    raised = np.exp(logits)
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.trials.mkdir(parents=True)
    names = tuple(str(label) for label in range(CLASSES))
    write_split(Split(names, table(LABELS[:8], 1_000), table(LABELS, 0)), made.split)
    return made


def train(study: Study, folder: StudyFolder, seed: int, *, with_evidence: bool = True, fold: int | None = None) -> None:
    number = study.add_trial({}, CONFIG, fold=fold)
    folder.trial(number).mkdir()
    study.start_segment(number, 2)
    for report in climb([0.5], [0.5], [0.5]):
        probabilities = said(1_000 * seed + report.epoch, 0.6)
        accuracy = float((probabilities.argmax(axis=1) == LABELS).mean())
        if with_evidence:
            Evidence(probabilities).write(folder.probabilities(number, report.epoch))
        scored = replace(report, val_accuracy=accuracy, val_scaled_log_loss=2.0 - accuracy, kept_epoch=report.epoch)
        study.report(number, scored)
    study.reach_stage(number)


def test_the_winner_of_many_equals_is_expected_to_be_as_good_as_they(folder: StudyFolder) -> None:
    with Study.create(folder.root, "study") as study:
        for seed in range(24):
            train(study, folder, seed)
        found = expected_winner(folder, study, Path("r"), seed=0)
        best = max(study.records(), key=lambda record: record.best_rank)
    assert found is not None
    assert found.number == best.number
    assert found.validated == best.best.val_accuracy > 0.65
    assert found.expected.accuracy == pytest.approx(0.6, abs=0.05)
    assert found.expected.low < 0.6 < found.expected.high
    assert found.luck == pytest.approx(found.validated - found.expected.accuracy)


def test_what_tells_nothing_is_passed_over(folder: StudyFolder) -> None:
    with Study.create(folder.root, "study") as study:
        assert expected_winner(folder, study, Path("r"), seed=0) is None, "no trial is complete"
        train(study, folder, 0, with_evidence=False)
        assert expected_winner(folder, study, Path("r"), seed=0) is None, "as in studies that kept no probabilities"


def test_trials_validated_on_folds_give_no_expectation(folder: StudyFolder) -> None:
    with Study.create(folder.root, "study") as study:
        train(study, folder, 0, fold=1)
        assert expected_winner(folder, study, Path("r"), seed=0) is None


def test_a_study_that_ranks_by_accuracy_tells_none(folder: StudyFolder) -> None:
    with Study.create(folder.root, "study", rank_by="accuracy") as study:
        train(study, folder, 0)
        assert expected_winner(folder, study, Path("r"), seed=0) is None


def test_luck_counts_by_the_winners_share_of_an_average(folder: StudyFolder) -> None:
    with Study.create(folder.root, "study") as study:
        for seed in range(9):
            train(study, folder, seed)
        study.finish()
        found = expected_winner(folder, study, Path("r"), seed=0)
    assert found is not None
    assert found.luck > 0.0

    def luck(shares: dict[int, float]) -> float:
        return luck_of_choice(folder, Path("r"), seed=0, shares=shares)

    other = (found.number + 1) % 9
    assert luck({found.number: 1.0}) == found.luck
    assert luck({found.number: 0.25, other: 0.75}) == pytest.approx(found.luck / 4)
    assert luck({other: 1.0}) == 0.0
    assert luck({}) == 0.0, "a fixed recipe was not chosen"


def test_one_training_has_the_luck_of_its_choice_taken_off() -> None:
    plain, lucky = of_one(0.9, 100, luck=0.0), of_one(0.9, 100, luck=0.04)
    assert (plain.accuracy, plain.of) == (0.9, "the model")
    assert lucky.accuracy == pytest.approx(0.86)
    assert lucky.low < plain.low < 0.9 < plain.high


def test_of_folds_luck_counts_by_the_share_of_photos_that_chose() -> None:
    labels = np.arange(200) % 4
    answers = np.where(np.arange(200) % 10 != 0, labels, (labels + 1) % 4)
    said = (0.6 * np.eye(4)[answers] + 0.1).astype(np.float32)
    alone = of_folds(said, labels, None, accuracy=0.9, luck=0.1, search_share=0.2)
    assert (alone.accuracy, alone.of) == (pytest.approx(0.88), "one of its models")
    rng = np.random.default_rng(0)
    unseen = rng.dirichlet(np.full(4, 0.4), size=(3, 300)).astype(np.float32)
    together = of_folds(said, labels, unseen, accuracy=0.9, luck=0.1, search_share=0.2)
    assert together.of == "the model"
    assert together.accuracy > alone.accuracy, "members that disagree gain by being averaged"
    lucky = of_folds(said, labels, unseen, accuracy=0.9, luck=0.2, search_share=0.2)
    assert 0.0 < together.accuracy - lucky.accuracy < 0.02, "fewer photos are left wrong than one model leaves"
    few = of_folds(said, labels, unseen[:, :9], accuracy=0.9, luck=0.1, search_share=0.2)
    assert few == alone, "too few photos to tell how far the members disagree"
