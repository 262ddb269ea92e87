"""Final trainings on three folds: their files, and that a kill in the middle changes nothing."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carcls.splits.k_folds import read_folds
from search.final.final_failures import peak_key
from search.final.final_study import final_reports
from search.policy.records import TrialState
from search.study.final_scores import read_scores, score_lines
from search.study.folder import StudyFolder
from search.study.study import Study
from search.study.unseen_answers import UnseenAnswers
from tests.helpers.search.processes import (
    children_below,
    descendants,
    is_alive,
    kill,
    parent_of,
    run_cli,
    start_cli,
    wait_until,
)
from tests.helpers.search.ran import timeless
from tests.helpers.search.tiny import CLASSES, FIXED, write_tiny

FOLDS = 3
LABELLED = 36
TEST_PER_CLASS = 4
"""Enough to tell how far the models disagree."""
FOLDED = FIXED.replace("retrain:\n", f"retrain:\n  folds: {FOLDS}\n")
ROOT = Path(__file__).parents[3]
WITHOUT_FRAMEWORKS = """\
import sys
for name in ("ray", "tensorflow", "keras"):
    sys.modules[name] = None  # any import of it in this process raises
sys.argv = ["carsearch", *sys.argv[1:]]
from search.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, str]:
    """A training without interruptions, by a process that cannot import a framework, and its output."""
    cwd = tmp_path_factory.mktemp("folded")
    write_tiny(cwd, FOLDED, test_per_class=TEST_PER_CLASS)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FRAMEWORKS, "train", "tiny.yaml"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return StudyFolder(cwd / "results" / "tiny"), done.stdout


@pytest.mark.timeout(900)
def test_each_fold_is_trained_and_told(folded: tuple[StudyFolder, str]) -> None:
    folder, printed = folded
    records = Study.open(folder.retrain, read_only=True).records()
    assert [(record.state, record.fold) for record in records] == [(TrialState.COMPLETE, fold) for fold in range(FOLDS)]
    lines = [line for line in printed.splitlines() if "  epoch " in line]
    for number in range(1, FOLDS + 1):
        own = [line.split()[3] for line in lines if line.startswith(f"fold {number}/{FOLDS}  ")]
        assert own == ["1/3", "2/3", "3/3"]
    for line in score_lines(read_scores(folder)):
        assert line in printed.splitlines()
    cost = read_scores(folder).efficiency
    assert cost is not None
    study = Study.open(folder.retrain, read_only=True)
    assert (cost.peak_memory_bytes or 0) >= max(int(study.get_value(peak_key(number))) for number in range(FOLDS)) > 0
    page = folder.report.read_text(encoding="utf-8")
    assert f"{FOLDS} trainings on as many folds, averaged at 32 px; {LABELLED} out-of-fold photos" in page
    assert page.count("<td>head</td>") + page.count("<td>top</td>") >= FOLDS


@pytest.mark.timeout(900)
def test_each_labelled_photo_is_predicted_by_a_model_that_did_not_train_on_it(
    folded: tuple[StudyFolder, str],
) -> None:
    folder, _ = folded
    data_root = folder.root.parents[1] / "data"
    folds = read_folds(folder.retrain_study.folds, data_root)
    with np.load(folder.out_of_fold, allow_pickle=False) as arrays:
        ids, labels, of_fold = arrays["ids"].tolist(), arrays["labels"], arrays["folds"]
        plain, flip = arrays["view/plain"], arrays["view/flip"]
        assert arrays["class_names"].tolist() == list(folds.class_names)
    assert len(set(ids)) == len(ids) == LABELLED
    for number in range(FOLDS):
        validation = folds.split(number).validation
        rows = np.flatnonzero(of_fold == number)
        assert [ids[row] for row in rows] == list(validation.ids)
        assert (labels[rows] == validation.labels).all()
    assert plain.shape == flip.shape == (LABELLED, CLASSES)
    assert np.allclose(plain.sum(axis=1), 1.0, atol=1e-5)

    scores = read_scores(folder)
    assert (scores.folds, scores.out_of_fold, scores.validation_photos) == (FOLDS, True, LABELLED)
    assert scores.plain_correct == int((plain.argmax(axis=1) == labels).sum())
    assert scores.plain_accuracy == pytest.approx(scores.plain_correct / LABELLED)
    assert scores.plain_log_loss == pytest.approx(-np.log(plain[np.arange(LABELLED), labels]).mean(), rel=1e-5)
    assert scores.expected is not None
    assert scores.expected.of == "the model", "the photos to predict tell how far the models disagree"
    assert 0.0 <= scores.expected.low <= scores.expected.accuracy <= scores.expected.high <= 1.0
    unseen = UnseenAnswers.read(folder.unseen)
    assert unseen is not None
    assert set(unseen.ids) == {path.name for path in (data_root / "test_upload").iterdir()}
    assert (unseen.views, unseen.said.shape) == (scores.tta_views, (FOLDS, TEST_PER_CLASS * CLASSES, CLASSES))
    assert np.allclose(unseen.said.sum(axis=2), 1.0, atol=1e-5)
    assert len({one.tobytes() for one in unseen.said}) == FOLDS, "each by another model"
    assert sum(member.photos for member in scores.members) == LABELLED
    weighted = sum(member.photos * member.accuracy for member in scores.members) / LABELLED
    assert weighted == pytest.approx(scores.plain_accuracy)
    for number, (member, reports) in enumerate(zip(scores.members, final_reports(folder), strict=True)):
        rows = of_fold == number
        assert member.accuracy == pytest.approx((plain[rows].argmax(axis=1) == labels[rows]).mean())
        assert member.seconds == pytest.approx(sum(report.seconds.total for report in reports))


@pytest.mark.timeout(900)
def test_the_exported_model_is_the_mean_of_its_members(folded: tuple[StudyFolder, str]) -> None:
    from carcls.config import TrainConfig
    from carcls.inference.export import load_model
    from carcls.inference.tta import average
    from carcls.input.pixels import decode
    from carcls.scoring.choices import sharpness_of
    from carcls.training.fine_tuning import load_best

    folder, _ = folded
    config = TrainConfig.model_validate_json((folder.retrain / "config.json").read_text(encoding="utf-8"))
    exported = load_model(folder.model)
    photos = sorted((folder.root.parents[1] / "data" / "test_upload").iterdir())
    pixels = np.stack([decode(photo, exported.card.size_px) for photo in photos])
    answers = []
    for number, reports in enumerate(final_reports(folder)):
        own = folder.retrain_study.trial(number)
        classifier, size_px = load_best(config, own, reports[-1], class_count=CLASSES)
        assert size_px == exported.card.size_px == 32
        answers.append(np.asarray(classifier.model.predict_on_batch(pixels)))
    assert np.allclose(np.asarray(exported.model.predict_on_batch(pixels)), np.mean(answers, axis=0), atol=1e-6)
    assert not np.allclose(answers[0], answers[1], atol=1e-6), "they were trained on other photos"
    assert exported.card.members == FOLDS
    with np.load(folder.out_of_fold) as stored:
        said = average({view: stored[f"view/{view}"] for view in exported.card.tta_views}, exported.card.tta_views)
        assert exported.card.sharpness == pytest.approx(sharpness_of(said, stored["labels"]))


@pytest.mark.timeout(900)
def test_submit_and_a_second_call_take_it_like_any_other(folded: tuple[StudyFolder, str]) -> None:
    folder, _ = folded
    cwd, model = folder.root.parents[1], folder.model.read_bytes()
    again = run_cli("train", "tiny.yaml", cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert "is already finished" in again.stdout
    submitted = run_cli("submit", str(folder.root), cwd=cwd)
    assert submitted.returncode == 0, submitted.stderr
    with folder.submission.open(encoding="utf-8", newline="") as rows:
        assert sum(1 for _ in csv.reader(rows)) == 1 + CLASSES * TEST_PER_CLASS
    assert folder.model.read_bytes() == model
    recipe = run_cli("check", str(folder.recipe), cwd=cwd)
    assert recipe.returncode == 0, recipe.stderr


@pytest.mark.fault
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["child", "command"])
def test_a_kill_in_fold_2_and_another_call_give_the_undisturbed_result(
    folded: tuple[StudyFolder, str], tmp_path: Path, victim: str
) -> None:
    whole, _ = folded
    shutil.copytree(whole.root.parents[1] / "data", tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(FOLDED, encoding="utf-8")
    folder = StudyFolder(tmp_path / "results" / "tiny")

    def had_of_fold_2() -> int:
        trained = final_reports(folder)
        return len(trained[1]) if trained else 0

    process = start_cli("train", "tiny.yaml", cwd=tmp_path)
    below: set[int] = set()
    try:
        wait_until(lambda: process.poll() is not None or had_of_fold_2() > 0, "an epoch of fold 2")
        below = set(descendants(process.pid))
        if victim == "command":
            process.kill()
            process.wait()
            wait_until(lambda: not any(map(is_alive, below)), "an end to its processes", within_s=10)
        else:
            for child in children_below(process.pid):
                if parent_of(parent_of(child)) == process.pid:  # none that prepares a child's batches
                    os.kill(child, signal.SIGKILL)
            assert process.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text(encoding="utf-8")
    finally:
        kill({process.pid} | {pid for pid in below if is_alive(pid)})
        process.wait()
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr

    mine, theirs = (Study.open(one.retrain, read_only=True).records() for one in (folder, whole))
    assert timeless(mine, uninterrupted=False) == timeless(theirs, uninterrupted=False)
    assert comparable(folder) == comparable(whole)


def comparable(folder: StudyFolder) -> dict[str, object]:
    """Scores without values that differ between runs."""
    values = json.loads(folder.scores.read_text(encoding="utf-8"))
    members = [{key: value for key, value in one.items() if key != "seconds"} for one in values.pop("members")]
    return {key: value for key, value in values.items() if key not in {"seconds", "efficiency"}} | {"members": members}
