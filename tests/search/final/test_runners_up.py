"""Which other trial is trained beside the winner."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.errors import StudyError
from search.experiment.experiment import from_text
from search.final.runners_up import folder_beside, other_backbone, runner_up
from search.policy.records import OUT_OF_TIME, TrialState
from search.study.finals_beside import finals_beside, trial_beside
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT
from tests.helpers.search.trial_builders import climb, trial
from tests.helpers.search.written_study import CONFIG, train

ANY_FILE = from_text(EXPERIMENT, "tiny.yaml")
WIDE, NARROW, OTHER = ("MobileNetV2", 1.0), ("MobileNetV2", 0.35), ("MobileNet", 1.0)


def whole(number, accuracy, state=TrialState.COMPLETE):
    return trial(number, state, climb([0.1], [0.2], [accuracy]))


def next_of(trials, backbones, *trained):
    """Number of the next trial beside those of these numbers, or None. backbones: of the trials, in order."""
    found = runner_up(trials, lambda one: backbones[one.number], {backbones[number] for number in trained})
    return None if found is None else found.number


def test_the_best_whole_trial_of_another_backbone_is_next() -> None:
    trials = [whole(0, 0.7), whole(1, 0.9), whole(2, 0.8), whole(3, 0.6), whole(4, 0.65)]
    backbones = [NARROW, WIDE, WIDE, OTHER, OTHER]
    assert next_of(trials, backbones, 1) == 0, "another width is another backbone"
    assert next_of(trials, backbones, 1, 0) == 4
    assert next_of(trials, backbones, 1, 0, 4) is None, "trial 2 has the winner's backbone"


def test_trials_that_were_stopped_count_by_their_best_epoch() -> None:
    stopped = trial(1, TrialState.PRUNED, climb([0.1], [0.8]))
    paused = trial(2, TrialState.PAUSED, climb([0.1], [0.7]))
    trials, backbones = [whole(0, 0.9), stopped, paused, whole(3, 0.75)], [WIDE, OTHER, NARROW, OTHER]
    assert next_of(trials, backbones, 0) == 1
    assert next_of(trials, backbones, 0, 1) == 2


def test_trials_that_the_hours_cut_off_count_beyond_their_first_stage() -> None:
    cut_off = trial(1, TrialState.WAITING, climb([0.1], [0.8], [0.82])[:-1], cause=OUT_OF_TIME)
    barely = trial(2, TrialState.WAITING, climb([0.9]), cause=OUT_OF_TIME)
    interrupted = trial(3, TrialState.WAITING, climb([0.1], [0.9]), cause="its process died")
    trials, backbones = [whole(0, 0.9), cut_off, barely, interrupted], [WIDE, OTHER, NARROW, NARROW]
    assert next_of(trials, backbones, 0) == 1
    assert next_of(trials, backbones, 0, 1) is None


def test_backbones_are_compared_at_the_last_stage_that_all_have_ended() -> None:
    trained = trial(1, TrialState.COMPLETE, climb([0.4], [0.5], [0.8]))
    stopped = trial(2, TrialState.PRUNED, climb([0.6], [0.55]))
    barely = trial(3, TrialState.PRUNED, climb([0.59], [0.1]))
    trials, backbones = [whole(0, 0.9), trained, stopped, barely], [WIDE, NARROW, OTHER, NARROW]
    assert next_of(trials, backbones, 0) == 2, "0.6 against 0.59 until the second stage, whatever came after it"
    assert next_of(trials, backbones, 0, 2) == 1, "within a backbone the best of all stages"
    assert next_of(trials[:3], backbones, 0) == 2
    later = trial(2, TrialState.COMPLETE, climb([0.6], [0.55], [0.56]))
    assert next_of([*trials[:2], later], backbones, 0) == 1, "both have ended the third"


def test_failed_trials_repeats_and_those_of_one_stage_do_not_count() -> None:
    head = trial(1, TrialState.PRUNED, climb([0.8]))
    failed = trial(2, TrialState.FAIL, climb([0.1], [0.8]))
    running = trial(3, TrialState.RUNNING, climb([0.1], [0.8]))
    trials = [whole(0, 0.9), head, failed, running, replace(whole(4, 0.7), repeats=0), whole(5, 0.1)]
    backbones = [WIDE, *[OTHER] * 5]
    assert next_of(trials, backbones, 0) == 5
    assert next_of(trials[:5], backbones, 0) is None


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.sampled_from([WIDE, NARROW, OTHER])), min_size=1, max_size=12))
def test_each_backbone_comes_once_by_rank_and_the_earlier_of_equals(drawn) -> None:
    trials = [whole(number, accuracy) for number, (accuracy, _) in enumerate(drawn)]
    backbones = [backbone for _, backbone in drawn]
    trained = [max(trials, key=lambda one: (one.best_rank, -one.number)).number]
    while (found := next_of(trials, backbones, *trained)) is not None:
        left = [one for one in trials if backbones[one.number] not in {backbones[number] for number in trained}]
        assert found == max(left, key=lambda one: (one.best_rank, -one.number)).number
        trained.append(found)
    assert len({backbones[number] for number in trained}) == len(trained) == len(set(backbones))


@pytest.mark.parametrize(
    "named",
    [
        {"model": ("wide", "wide", "other")},
        {"train.backbone": ("v2", "v2", "v2"), "train.backbone.v2.alpha": (1.0, 1.0, 0.5)},
        {"portfolio": ("a", "a", "b")},
        {"portfolio": ("a", "a", "a")},  # recipes of one study, which names them all alike
    ],
)
def test_backbones_are_told_apart_however_the_file_names_them(tmp_path, named) -> None:
    accuracies, backbones = (0.9, 0.85, 0.8), (("MobileNetV2", 1.0), ("MobileNetV2", 1.0), ("MobileNet", 0.5))
    with Study.create(tmp_path, "cars") as study:
        for place, accuracy in enumerate(accuracies):
            backbone, alpha = backbones[place]
            config = CONFIG.model_copy(update={"backbone": backbone, "alpha": alpha})
            params = {"train.head.dropout": 0.1 * place, **{name: values[place] for name, values in named.items()}}
            study.add_trial(params, config)
            study.start_segment(place, 2)
            train(study, place, [0.1], [0.2], [accuracy])
            study.reach_stage(place)
        assert other_backbone(study, ANY_FILE, 0).number == 2
        assert other_backbone(study, ANY_FILE, 0, 2) is None


@pytest.mark.parametrize(
    ("photos", "retrain", "found"),
    [
        ({"fit": ("pad", "stretch", "pad")}, {}, 2),
        ({"fit": ("pad", "stretch", "crop")}, {}, None),
        ({"fit": ("pad", "stretch", "crop")}, {"fit": "pad"}, 1),
        ({"fit": ("pad",) * 3, "image_size": (64, (64, 96), 96)}, {}, 2),
        ({"image_size": (64, (64, 96), 96)}, {}, 1),
        ({"image_size": (64, 64, 96)}, {"image_size": 30}, None),  # none of them can be trained so
    ],
)
def test_the_final_training_of_another_backbone_sees_photos_as_the_winners(tmp_path, photos, retrain, found) -> None:
    file = replace(ANY_FILE, retrain=retrain)
    with Study.create(tmp_path, "cars") as study:
        for place, accuracy in enumerate((0.9, 0.85, 0.8)):
            own = {key: values[place] for key, values in photos.items()}
            alpha = 0.35 + 0.15 * (place > 0)
            config = TrainConfig.model_validate(CONFIG.model_dump() | {"alpha": alpha, **own})
            study.add_trial({"train.alpha": alpha, **{f"train.{key}": str(own[key]) for key in own}}, config)
            study.start_segment(place, 2)
            train(study, place, [0.1], [0.2], [accuracy])
            study.reach_stage(place)
        other = other_backbone(study, file, 0)
        assert (None if other is None else other.number) == found


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
        folder_beside(StudyFolder(tmp_path), None, ANY_FILE)
