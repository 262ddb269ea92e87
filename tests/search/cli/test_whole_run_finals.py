"""Final trainings of `carsearch run --hours`: how many folds, and what an interrupted one has left to train."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from carcls.splits.k_folds import make_folds
from carcls.splits.split_files import read_split, write_split
from search.cli import actions, whole_run_finals
from search.cli.whole_run import _ensemble
from search.cli.whole_run_finals import folds_that_fit_beside, possible_folds, retrain_others, retrain_winner
from search.cli.whole_run_record import stored_run
from search.errors import InUseError, StudyError
from search.experiment.experiment import Experiment
from search.final.final_study import open_final_study
from search.final.retrain import final_config
from search.policy.records import TrialState
from search.policy.time_plan import ENSEMBLE
from search.study.begun_final import folds_begun, share_left
from search.study.final_lock import retraining
from search.study.final_scores import RefitScore, read_scores
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.hanging_final import EPOCHS, SCORES
from tests.helpers.search.untrained_study import BEGUN, FOLDS, add_final, finish_files, finish_training, untrained_study

EPOCHS_EACH = 4
"""Of a final training of the tiny experiment."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Experiment]:
    folder, experiment = untrained_study(tmp_path_factory.mktemp("finals"), "retrain.folds=2", per_class=5)
    add_final(folder, experiment)
    return folder, experiment


@pytest.fixture
def there(searched: tuple[StudyFolder, Experiment]):
    """A final training beside the study's own, created and not begun."""
    folder, experiment = searched
    there = folder.beside(1)
    shutil.rmtree(there.retrain, ignore_errors=True)
    there.retrain.mkdir()
    asked = replace(experiment, folds=FOLDS)
    open_final_study(there, asked, final_config(folder, asked, 1)).close()
    return there


def test_folds_are_those_begun_only_once_the_training_was_created_to_its_end(there: StudyFolder) -> None:
    assert folds_begun(there) == FOLDS
    there.retrain_config.unlink()  # written last
    assert folds_begun(there) == 0
    shutil.rmtree(there.retrain)
    there.retrain.mkdir()
    Study.create(there.retrain, "tiny-retrain").close()  # before any training was added
    assert folds_begun(there) == 0
    there.retrain_study.log.unlink()
    assert folds_begun(there) == 0


def test_a_training_that_ended_early_has_nothing_left_to_train(there: StudyFolder) -> None:
    assert share_left(there) == 1.0
    with Study.open(there.retrain) as study:
        config = study.config(0)
        assert config.total_epochs == EPOCHS_EACH
        finish_training(study, 0, config)
        assert (study.record(0).state, study.record(0).fidelity) == (TrialState.COMPLETE, EPOCHS_EACH - 1)
    assert share_left(there) == 0.5, "its last epoch is spared"
    with Study.open(there.retrain) as study:
        study.start_segment(1, 1)
        study.report(1, EPOCHS[0])
    assert share_left(there) == pytest.approx(3 / 8)
    with Study.open(there.retrain) as study:
        study.interrupt_running()
        study.start_segment(1, 1)
        for report in EPOCHS[1:]:
            study.report(1, report)
        study.reach_stage(1)
    assert share_left(there) == 0.0, "what is left is to be scored, which no lack of time may prevent"


def test_folds_that_wait_for_their_scores_need_no_time_to_train(
    searched: tuple[StudyFolder, Experiment], there
) -> None:
    folder, experiment = searched
    with Study.open(folder.root) as study:
        replace(BEGUN, hours=1e-6).keep(study)
    for number, fit in ((0, 0), (1, FOLDS)):
        with Study.open(there.retrain) as study:
            finish_training(study, number, study.config(number))
        assert folds_that_fit_beside(folder, experiment, 1, earlier_s=60.0) == fit


def test_a_training_beside_that_ended_just_before_a_kill_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    add_final(folder, experiment)
    there = folder.beside(1)
    add_final(there, experiment, 1)
    with Study.open(there.retrain) as study:
        study.set_elapsed_s(600.0)
    with Study.open(folder.root) as study:
        BEGUN.keep(study)
    monkeypatch.setattr(whole_run_finals, "run_retrain", lambda *_, **__: pytest.fail("all is trained"))
    for _ in range(2):
        retrain_others(folder, experiment, None)
        whole = stored_run(folder)
        assert (whole.counted, whole.outside_s) == (("retrain", "retrain-0001"), 600.0)


def interrupt(there: StudyFolder, seconds: float) -> None:
    """Leaves a training as an earlier call does that was killed after its first epoch."""
    with Study.open(there.retrain) as study:
        study.start_segment(0, 1)
        study.report(0, EPOCHS[0])
        study.interrupt_running()
        study.set_elapsed_s(seconds)


def test_a_training_beside_that_is_given_up_for_lack_of_time_has_its_seconds_counted_once(
    searched: tuple[StudyFolder, Experiment], there: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    interrupt(there, 3000.0)
    with Study.open(folder.root) as study:
        replace(BEGUN, hours=0.5, outside_s=60.0).keep(study)
    for _ in range(2):
        retrain_others(folder, experiment, None)
        assert "no time is left for a final training of another backbone" in capsys.readouterr().out
        whole = stored_run(folder)
        assert (whole.counted, whole.outside_s) == (("retrain", "retrain-0001"), 3060.0)


def test_a_training_beside_that_failed_is_counted_once_if_it_is_tried_again(
    searched: tuple[StudyFolder, Experiment], there: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, experiment = searched
    interrupt(there, 500.0)
    with Study.open(folder.root) as study:
        BEGUN.keep(study)

    def fail(*_: object, **__: object) -> None:
        raise StudyError("no photo can be read")

    monkeypatch.setattr(whole_run_finals, "run_retrain", fail)
    for _ in range(2):  # killed before the next step began
        retrain_others(folder, experiment, None)
        whole = stored_run(folder)
        assert (whole.counted, round(whole.outside_s)) == (("retrain", "retrain-0001"), 500)


def test_a_training_beside_in_another_process_is_not_given_up(
    searched: tuple[StudyFolder, Experiment], there: StudyFolder
) -> None:
    folder, experiment = searched
    with Study.open(folder.root) as study:
        BEGUN.keep(study)
    with retraining(there), pytest.raises(InUseError, match="another process trains there: wait for it, or stop it"):
        retrain_others(folder, experiment, None)
    assert stored_run(folder) == BEGUN


def test_damaged_scores_of_a_training_that_is_over_are_written_anew_and_cost_no_hours_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=3", per_class=5)
    add_final(folder, experiment)
    with Study.open(folder.retrain) as study:
        study.set_elapsed_s(600.0)
    with Study.open(folder.root) as study:
        replace(BEGUN, outside_s=600.0).keep(study)
    called: list[int] = []
    monkeypatch.setattr(whole_run_finals, "run_retrain", lambda _, experiment, **__: called.append(experiment.folds))
    retrain_winner(folder, experiment, None)
    assert called == [], "its scores can be read"
    folder.scores.write_text("", encoding="utf-8")
    retrain_winner(folder, experiment, None)
    assert called == [FOLDS], "as it was trained"
    assert round(stored_run(folder).outside_s) == 600
    command = f"'carsearch retrain {folder.root} --set retrain.folds={FOLDS}', with the same --trial"
    with pytest.raises(StudyError, match=re.escape(command)):
        read_scores(folder)


def test_more_folds_than_the_photos_allow_are_as_many_as_possible(
    searched: tuple[StudyFolder, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    assert possible_folds(folder, experiment, 5) == 5
    assert capsys.readouterr().out == ""
    split = read_split(folder.split, experiment.data.root)
    photos = len(split.train) + len(split.validation)
    assert photos == 15
    assert possible_folds(folder, experiment, photos + 1) == photos
    assert capsys.readouterr().out == f"the photos are too few for {photos + 1} folds: {photos}\n"
    assert make_folds(split, count=photos, seed=0).count == photos
    assert possible_folds(folder, replace(experiment, folds=16), 16) == 16, "what the file asks for fails as it would"


@pytest.mark.parametrize(("counts", "folds"), [((3, 1), 3), ((4, 2), 4), ((2, 2), 2), ((2, 1), 1)])
def test_groups_allow_as_many_folds_as_there_are(
    searched: tuple[StudyFolder, Experiment],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    counts: tuple[int, int],
    folds: int,
) -> None:
    (folder, experiment), (sellers, asked) = searched, counts
    split = read_split(folder.split, experiment.data.root)
    paths = (*split.train.paths, *split.validation.paths)
    grouped = StudyFolder(tmp_path)
    write_split(replace(split, own_groups=tuple(paths[seller::sellers] for seller in range(sellers))), grouped.split)
    assert possible_folds(grouped, replace(experiment, folds=asked), 5) == folds
    said = f"{folds}, as the file asks" if folds == asked else str(folds)
    assert capsys.readouterr().out == f"the photos are too few for 5 folds: {said}\n"


CHANGED = "retrain={photos: all, stages: {top: {epochs: 2}}}"
GONE = "retrain={photos: all}"


@pytest.mark.parametrize(
    "case",
    [
        (CHANGED, True, "train", "the file's retrain section changes the trial, which therefore cannot tell how long"),
        (GONE, False, "train", "the weights of trial 0000 are gone, which are scored in its place"),
        (GONE, True, "all", ""),
    ],
)
def test_a_training_on_all_photos_that_cannot_be_is_one_on_the_searchs_split_and_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, bool, str, str],
) -> None:
    asked, kept, photos, said = case
    folder, experiment = untrained_study(tmp_path, asked, per_class=5)
    with Study.open(folder.root) as study:
        replace(BEGUN, folds=1, is_refitted=True, has_other=False, counted=()).keep(study)
        weights = study.record(0).reports[-1].best_weights
    if kept:
        finish_files(folder.trial(0), weights)
    trained: list[Experiment] = []
    monkeypatch.setattr(whole_run_finals, "possible_folds", lambda *_: 1)
    monkeypatch.setattr(whole_run_finals, "run_retrain", lambda _, final, **__: trained.append(final))
    retrain_winner(folder, experiment, None)
    assert [(one.folds, one.photos) for one in trained] == [(1, photos)]
    printed = capsys.readouterr().out
    assert said in printed
    assert ("not on all photos" in printed) == bool(said)


def test_a_begun_training_on_all_photos_stays_one_though_the_weights_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, experiment = untrained_study(tmp_path, GONE, per_class=5)
    with Study.open(folder.root) as study:
        replace(BEGUN, folds=1, is_refitted=True, has_other=False, counted=()).keep(study)
    folder.retrain.mkdir(exist_ok=True)
    asked = replace(experiment, folds=1)
    open_final_study(folder, asked, final_config(folder, asked, 0)).close()
    trained: list[Experiment] = []
    monkeypatch.setattr(whole_run_finals, "run_retrain", lambda _, final, **__: trained.append(final))
    retrain_winner(folder, experiment, None)
    assert [one.photos for one in trained] == ["all"]


@pytest.mark.parametrize("has_seen_all", [True, False])
def test_an_ensemble_is_left_out_only_if_the_final_model_really_saw_all_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_seen_all: bool
) -> None:
    folder, experiment = untrained_study(tmp_path, CHANGED, per_class=5)
    with Study.open(folder.root) as study:
        replace(BEGUN, folds=1, is_refitted=True, stage=ENSEMBLE).keep(study)
    folder.retrain.mkdir()
    refit = RefitScore(15, (("head", 1),), 1.0) if has_seen_all else None
    folder.scores.write_text(json.dumps(asdict(replace(SCORES, trial=0, refit=refit))), encoding="utf-8")
    folder.model.write_bytes(b"a model")
    built: list[StudyFolder] = []
    monkeypatch.setattr(actions, "run_ensemble", lambda there, *_, **__: built.append(there))
    assert not _ensemble(folder, experiment), "it made no model"
    assert built == ([] if has_seen_all else [folder])
    assert ("the final model has seen all photos" in capsys.readouterr().out) == has_seen_all
