"""`carsearch ensemble` on a real study of drawn cars."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from carcls.inference.export import load_model
from carcls.inference.tta import predict_view
from carcls.input.pixels import Pixels
from carcls.input.training_data import TrainingData
from carcls.scoring.evidence import Evidence
from carcls.splits.split_files import read_split
from carcls.training.fine_tuning import load_best
from search.ensemble.build import build_ensemble
from search.ensemble.costs import measured_ms, timed
from search.ensemble.selectable import Candidate, Photos, as_soup, candidates, soup_groups
from search.errors import StudyError
from search.experiment.node_store import open_store
from search.final.submit import submit
from search.study.ensemble_scores import EnsembleScores
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import CLASSES, TEST_PER_CLASS
from tests.helpers.search.trained_study import trained_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """With 12 validation photos: fewer than 10 never tell that an ensemble helps."""
    return trained_study(tmp_path_factory.mktemp("ensemble"), changes=["data.validation.fraction=0.34"])


@pytest.fixture
def study(trained: StudyFolder, tmp_path: Path) -> StudyFolder:
    """A copy, so that what it keeps can be changed."""
    shutil.copytree(trained.root, tmp_path / "tiny")
    return StudyFolder(tmp_path / "tiny")


def photos_of(folder: StudyFolder) -> Photos:
    return Photos.of(read_split(folder.split, open_experiment(folder).data.root))


def let_them_help(folder: StudyFolder) -> None:
    """Changes the probabilities that trials keep: each is unsure of other photos, so that their mean is right."""
    photos = photos_of(folder)
    labels = photos.labels
    for record in Study.open(folder.root, read_only=True).records():
        if record.best is None:
            continue
        said = np.full((len(labels), CLASSES), 0.1 / (CLASSES - 1))
        said[np.arange(len(labels)), labels] = 0.9
        wrong = np.arange(len(labels)) % 4 == record.number % 4
        said[wrong] = 0.3
        said[wrong, (labels[wrong] + 1) % CLASSES] = 0.4
        Evidence(said.astype(np.float16)).write(folder.probabilities(record.number, record.best.epoch))


def test_every_training_with_weights_is_a_candidate(study: StudyFolder) -> None:
    photos = photos_of(study)
    found, missing = candidates(study, photos)
    records = Study.open(study.root, read_only=True).records()
    whole = [record for record in records if record.best is not None]
    assert [one.name for one in found] == [f"trial {record.number:04d}" for record in whole]
    assert missing == ()
    for one, record in zip(found, whole, strict=True):
        accuracy = (one.probabilities.argmax(axis=1) == photos.labels).mean()
        assert accuracy == pytest.approx(record.best.val_accuracy)
    weights = next(study.trial(whole[0].number).glob("attempt-*/best-*.npz"))
    for path in weights.parent.glob("best-*.npz"):
        path.unlink()
    study.probabilities(whole[1].number, whole[1].best.epoch).unlink()
    found, missing = candidates(study, photos)
    assert len(found) == len(whole) - 2
    assert missing[0] == f"trial {whole[0].number:04d}: its weights are gone"
    assert missing[1].startswith(f"trial {whole[1].number:04d}: {study.probabilities(whole[1].number, 1).parent}")


def test_what_is_not_sure_to_help_is_refused_and_an_earlier_model_goes(study: StudyFolder) -> None:
    said: list[str] = []
    study.ensemble.mkdir()
    study.ensemble_model.write_bytes(b"of an earlier call")
    scores = build_ensemble(study, open_experiment(study), most=5, max_ms=None, say=said.append)
    assert EnsembleScores.read(study.ensemble_scores) == scores
    assert scores.log_loss <= scores.best_log_loss
    assert scores.is_kept == study.ensemble_model.exists()
    assert not scores.is_kept, "12 photos cannot tell"
    assert scores.lines()[-1].endswith("refused: it is not sure to help")


def test_one_model_is_exported_that_says_the_weighted_mean(study: StudyFolder) -> None:
    let_them_help(study)
    experiment = open_experiment(study)
    scores = build_ensemble(study, experiment, most=3, max_ms=None, say=lambda _: None)
    assert scores.is_kept
    assert 2 <= len(scores.members) <= 3
    assert sum(member.share for member in scores.members) == pytest.approx(1.0)
    exported = load_model(study.ensemble_model)
    assert exported.card.members == len(scores.members)
    assert exported.card.sharpness == scores.sharpness
    assert exported.card.tta_views == scores.views
    assert scores.ms is not None
    assert 0 < scores.ms_plain <= scores.ms
    assert scores.model_bytes == study.ensemble_model.stat().st_size
    photos = np.random.default_rng(0).integers(0, 256, (5, exported.card.size_px, exported.card.size_px, 3), np.uint8)
    expected = np.zeros((5, CLASSES))
    opened = Study.open(study.root, read_only=True)
    for member in scores.members:
        number = int(member.name.removeprefix("trial "))
        last = opened.record(number).reports[-1]
        classifier, _ = load_best(opened.config(number), study.trial(number), last, class_count=CLASSES)
        expected += member.share * np.asarray(classifier.model.predict_on_batch(photos))
    assert np.allclose(predict_view(exported.model, photos, "plain", batch_size=5), expected, atol=1e-5)

    end = submit(study, experiment, say=lambda _: None, model=study.ensemble_model)
    assert end.rows == CLASSES * TEST_PER_CLASS
    with study.submission.open(encoding="utf-8", newline="") as rows:
        assert sum(1 for _ in csv.reader(rows)) == 1 + end.rows


def test_a_limit_of_time_is_kept_or_refused(study: StudyFolder) -> None:
    let_them_help(study)
    with pytest.raises(StudyError, match=r"no ensemble can be selected within 1e-09 ms a photo \(--max-ms\)"):
        build_ensemble(study, open_experiment(study), most=3, max_ms=1e-9, say=lambda _: None)
    scores = build_ensemble(study, open_experiment(study), most=3, max_ms=1e6, say=lambda _: None)
    assert len(scores.members) > 1
    known = [member.ms for member in scores.members]
    assert len(set(known)) == 1, "they are the same model, measured once"
    assert scores.ms <= 1e6


def test_costs_are_measured_and_not_taken_from_stages_of_one_epoch(study: StudyFolder) -> None:
    photos, experiment = photos_of(study), open_experiment(study)
    found, _ = candidates(study, photos)
    data = TrainingData(photos.split, open_store(experiment.store), view_seed=0)
    measured = timed(found, data, measured_ms)
    assert len({one.ms for one in measured}) == 1
    assert measured[0].ms < found[0].ms / 2, "its only epoch with the whole model traced it"
    assert [one.name for one in measured] == [one.name for one in found]
    folds = replace(found[0], weights=found[0].weights * 3)
    soup = replace(folds, is_soup=True)
    three, one = timed([folds, soup], data, measured_ms)
    assert three.ms == pytest.approx(3 * one.ms)


def test_a_model_slower_than_its_members_promise_is_chosen_again(study: StudyFolder) -> None:
    let_them_help(study)

    def measure(model: keras.Model, pixels: Pixels, views: Sequence[str]) -> dict[str, float]:
        del pixels
        return dict.fromkeys(views, 4.0 if model.name == "averaged" else 1.0)

    scores = build_ensemble(
        study, open_experiment(study), most=3, max_ms=3.5, say=lambda _: None, or_single=True, measure=measure
    )
    assert len(scores.members) == 1
    assert scores.ms <= 3.5
    assert study.ensemble_model.exists()


def test_trainings_that_share_a_head_may_become_one_soup(study: StudyFolder) -> None:
    photos = photos_of(study)
    found, _ = candidates(study, photos)
    assert soup_groups(found) == [], "each trial has its own learning rate of the head"
    first, second = [one for one in found if one.head is not None][:2]
    shared = [first, replace(second, head=first.head)]
    config = second.weights[0].config.model_copy(update={"head": first.weights[0].config.head})
    shared[1] = replace(shared[1], weights=(replace(second.weights[0], config=config),))
    (group,) = soup_groups(shared)
    assert [one.name for one in group] == [first.name, second.name]
    soup: Candidate = as_soup(group, first.probabilities)
    assert soup.is_soup
    assert len(soup.weights) == 2
    assert soup.ms == first.ms or np.isnan(first.ms)


def test_the_command_tells_what_it_did(study: StudyFolder) -> None:
    let_them_help(study)
    done = run_cli("ensemble", str(study.root), "--max", "2", cwd=study.root.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2] == f"model: {study.ensemble_model}"
    assert lines[-1] == f"next: carsearch submit {study.root} --model {study.ensemble_model}"
    assert any("ms a photo" in line for line in lines)
    photo = next((open_experiment(study).data.root / "test_upload").iterdir())
    predicted = run_cli("predict", str(study.ensemble_model), str(photo), cwd=study.root.parent)
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stdout.count("\t") == 2
