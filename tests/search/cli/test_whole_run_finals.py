"""Final trainings of `carsearch run --hours`: how many folds, and what an interrupted one has left to train."""

import shutil
from dataclasses import replace

import pytest

from carcls.splits.k_folds import make_folds
from carcls.splits.split_files import read_split
from search.cli.whole_run_finals import folds_begun, folds_that_fit_beside, possible_folds, share_left
from search.experiment.experiment import Experiment
from search.final.final_study import open_final_study
from search.final.retrain import final_config
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.hanging_final import EPOCHS
from tests.helpers.search.untrained_study import BEGUN, FOLDS, add_final, finish_training, untrained_study

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


def test_more_folds_than_the_photos_allow_are_as_many_as_the_file_asks(
    searched: tuple[StudyFolder, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    assert possible_folds(folder, experiment, 5) == 5
    assert capsys.readouterr().out == ""
    split = read_split(folder.split, experiment.data.root)
    photos = len(split.train) + len(split.validation)
    assert photos == 15
    assert possible_folds(folder, experiment, photos + 1) == 2
    assert capsys.readouterr().out == f"the photos are too few for {photos + 1} folds: 2, as the file asks\n"
    assert make_folds(split, count=2, seed=0).count == 2
    assert possible_folds(folder, replace(experiment, folds=16), 16) == 16, "what the file asks for fails as it would"
