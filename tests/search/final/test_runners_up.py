"""Which other trial is trained beside the winner."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import StudyError
from search.final.runners_up import folder_beside, runner_up
from search.policy.records import TrialState
from search.study.finals_beside import finals_beside, trial_beside
from search.study.folder import StudyFolder
from tests.helpers.search.trial_builders import climb, trial

WIDE, NARROW, OTHER = ("MobileNetV2", 1.0), ("MobileNetV2", 0.35), ("MobileNet", 1.0)


def whole(number, accuracy, state=TrialState.COMPLETE):
    return trial(number, state, climb([0.1], [0.2], [accuracy]))


def test_the_best_whole_trial_of_another_backbone_is_next() -> None:
    trials = [whole(0, 0.7), whole(1, 0.9), whole(2, 0.8), whole(3, 0.6), whole(4, 0.65)]
    backbones = dict(enumerate([NARROW, WIDE, WIDE, OTHER, OTHER]))
    assert runner_up(trials, backbones.__getitem__, {1}).number == 0, "another width is another backbone"
    assert runner_up(trials, backbones.__getitem__, {1, 0}).number == 4
    assert runner_up(trials, backbones.__getitem__, {1, 0, 4}) is None, "trial 2 has the winner's backbone"


def test_trials_that_were_stopped_count_by_their_best_epoch() -> None:
    stopped = trial(1, TrialState.PRUNED, climb([0.1], [0.8]))
    paused = trial(2, TrialState.PAUSED, climb([0.1], [0.7]))
    trials, backbones = [whole(0, 0.9), stopped, paused, whole(3, 0.75)], dict(enumerate([WIDE, OTHER, NARROW, OTHER]))
    assert runner_up(trials, backbones.__getitem__, {0}).number == 1
    assert runner_up(trials, backbones.__getitem__, {0, 1}).number == 2


def test_failed_trials_repeats_and_those_of_one_stage_do_not_count() -> None:
    head = trial(1, TrialState.PRUNED, climb([0.8]))
    failed = trial(2, TrialState.FAIL, climb([0.1], [0.8]))
    running = trial(3, TrialState.RUNNING, climb([0.1], [0.8]))
    trials = [whole(0, 0.9), head, failed, running, replace(whole(4, 0.7), repeats=0), whole(5, 0.1)]
    backbones = dict(enumerate([WIDE, *[OTHER] * 5]))
    assert runner_up(trials, backbones.__getitem__, {0}).number == 5
    assert runner_up(trials[:5], backbones.__getitem__, {0}) is None


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.sampled_from([WIDE, NARROW, OTHER])), min_size=1, max_size=12))
def test_each_backbone_comes_once_by_rank_and_the_earlier_of_equals(drawn) -> None:
    trials = [whole(number, accuracy) for number, (accuracy, _) in enumerate(drawn)]
    backbones = {number: backbone for number, (_, backbone) in enumerate(drawn)}
    trained = [max(trials, key=lambda one: (one.best_rank, -one.number)).number]
    while (found := runner_up(trials, backbones.__getitem__, trained)) is not None:
        trained.append(found.number)
    assert len({backbones[number] for number in trained}) == len(trained) == len(set(backbones.values()))
    for number in trained:
        alike = [one for one in trials if backbones[one.number] == backbones[number]]
        assert number == max(alike, key=lambda one: (one.best_rank, -one.number)).number


def test_folders_beside_are_found_by_their_trial(tmp_path) -> None:
    folder = StudyFolder(tmp_path)
    for name in ("retrain", "retrain-0012", "retrain-0003", "retrain-old", "retrain-10000"):
        (tmp_path / name).mkdir()
    (tmp_path / "retrain-0001").touch()
    beside = finals_beside(folder)
    assert [trial_beside(one) for one in beside] == [3, 12, 10000]
    assert beside[0].scores == tmp_path / "retrain-0003" / "scores.json"
    assert beside[0].log == folder.log
    assert beside[0].main == folder
    assert trial_beside(folder) is None


def test_nothing_is_trained_beside_a_final_training_that_is_not_there(tmp_path) -> None:
    with pytest.raises(StudyError, match="has no final training to train another one beside"):
        folder_beside(StudyFolder(tmp_path), None)
