import heapq
from dataclasses import replace

import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.events import PhaseSeconds
from search.experiment.search_settings import FinalistSettings
from search.policy.durations import (
    StageLength,
    expected_seconds,
    final_training_s,
    relative_pace,
    remaining_s,
    stage_seconds,
    stage_weights,
    validation_s,
)
from search.policy.records import TrialState
from search.policy.rungs import Ladder
from search.policy.scheduler import BudgetState, Continue, Finished, NewTrial, Repeat, Wait, next_job
from tests.helpers.search.trial_builders import climb, trial

COMPLETE, PAUSED, RUNNING = TrialState.COMPLETE, TrialState.PAUSED, TrialState.RUNNING
LADDER = Ladder(3)


def timed(number, state, *seconds, accuracy=0.5, **more):
    """A trial of three stages, one epoch each, that took so many seconds."""
    reports = climb(*[[accuracy] for _ in seconds])
    reports = tuple(
        replace(report, seconds=PhaseSeconds(train=second, validate=0.0))
        for report, second in zip(reports, seconds, strict=True)
    )
    return trial(number, state, reports, **more)


def budget(left_s, *, trials_left=9, exhausted=False, finals_left_s=None, weights=()):
    return BudgetState(
        trials_left, exhausted=exhausted, left_s=left_s, finals_left_s=finals_left_s, stage_weights=weights
    )


def test_stages_take_the_median_of_the_trials_that_ended_them():
    trials = [timed(0, COMPLETE, 10, 20, 40), timed(1, PAUSED, 20), timed(2, PAUSED, 30, 60)]
    typical = stage_seconds(trials)
    assert typical == {0: 20.0, 1: 40.0, 2: 40.0}
    assert remaining_s(typical, None, stage_count=3) == 100.0
    assert remaining_s(typical, trials[1], stage_count=3) == 80.0
    assert remaining_s(typical, trials[2], stage_count=3) == pytest.approx(40.0 * 90 / 60)
    assert remaining_s({}, None, stage_count=3) == 0.0


def test_stages_that_none_has_ended_take_what_the_last_one_ended_says():
    assert expected_seconds({0: 20.0, 1: 30.0}, (1.0, 3.0, 6.0)) == {0: 20.0, 1: 30.0, 2: 60.0}
    assert expected_seconds({0: 20.0}, ()) == {0: 20.0}
    assert expected_seconds({}, (1.0, 3.0)) == {}
    assert expected_seconds({0: 20.0, 3: 5.0}, (1.0, 3.0)) == {0: 20.0, 1: 60.0, 3: 5.0}, "a trial with other stages"


def test_weights_are_epochs_pixels_and_passes_through_the_backbone():
    stages = [
        {"name": "head", "unfreeze": 0.0, "epochs": 4, "learning_rate": 1e-3},
        {"name": "half", "unfreeze": 0.5, "epochs": 3, "learning_rate": 1e-4},
        {"name": "large", "unfreeze": 1.0, "epochs": 2, "learning_rate": 1e-4, "image_scale": 2.0},
    ]
    values = {"backbone": "MobileNet", "image_size": [96, 128], "batch_size": 8, "stages": stages}
    assert stage_weights(TrainConfig.model_validate(values)) == (4.0, 6.0, 24.0)


@pytest.mark.parametrize(
    ("augment", "passes"),
    [
        ({"policy": "light", "views": 4}, 4.0),
        ({"policy": "light", "views": 40}, 20.0),
        ({"policy": "light", "views": 0}, 20.0),
        ({"policy": "none"}, 1.0),
        ({"policy": "light", "views": 4, "mixup": 0.2}, 20.0),
        ({"policy": "none", "cutmix": 0.2}, 20.0),
    ],
)
def test_epochs_of_a_frozen_stage_that_find_their_features_stored_weigh_nothing(augment, passes):
    stages = [
        {"name": "head", "unfreeze": 0.0, "epochs": 20, "learning_rate": 1e-3},
        {"name": "full", "unfreeze": 1.0, "epochs": 2, "learning_rate": 1e-4},
    ]
    values = {"backbone": "MobileNet", "image_size": 96, "batch_size": 8, "stages": stages, "augment": augment}
    assert stage_weights(TrainConfig.model_validate(values)) == (passes, 6.0)


def test_trials_that_were_begun_end_before_others_begin_if_time_is_short():
    ended = [timed(number, PAUSED, 10, accuracy=0.1 * number) for number in range(1, 4)]
    trials = [timed(0, RUNNING, 10, accuracy=0.05), *ended]
    weights = (1.0, 2.0, 3.0)  # another 50 s after the first stage
    assert next_job(trials, LADDER, budget(60.0, weights=weights)) == Continue(3, 1), "the best third goes on"
    more = [replace(one, state=RUNNING) if one.number == 3 else one for one in trials]
    assert next_job(more, LADDER, budget(60.0, weights=weights)) == NewTrial(), "which takes 60 s"
    assert next_job(more, LADDER, budget(59.0, weights=weights)) == Continue(2, 1)
    assert next_job(more, LADDER, budget(59.0)) == NewTrial(), "what is not known counts as nothing"


def test_short_trials_come_first_where_few_can_end():
    long, short, shorter = timed(1, PAUSED, 20, accuracy=0.9), timed(2, PAUSED, 9), timed(3, PAUSED, 8)
    trials = [timed(0, RUNNING, 10), long, short, shorter]
    weights = (1.0, 2.0, 3.0)  # another 100, 45 and 40 s
    assert next_job(trials, LADDER, budget(46.0, weights=weights)) == Continue(2, 1), "equal ones: the older one"
    assert next_job(trials, LADDER, budget(44.0, weights=weights)) == Continue(3, 1)
    assert next_job(trials, LADDER, budget(30.0, weights=weights)) == Continue(3, 1), "nearly: none is idle for a guess"


def test_a_new_trial_starts_only_if_it_can_end():
    trials = [timed(0, COMPLETE, 10, 20, 40)]
    assert next_job(trials, LADDER, budget(71.0)) == NewTrial()
    assert next_job(trials, LADDER, budget(69.0)) == Finished()
    assert next_job(trials, LADDER, budget(None)) == NewTrial(), "without hours for the whole run nothing changes"


def test_nothing_is_idle_while_a_paused_trial_can_end():
    trials = [
        timed(0, COMPLETE, 10, 20, 40),
        timed(1, PAUSED, 10, accuracy=0.3),
        timed(2, PAUSED, 10, accuracy=0.4),
        timed(3, PAUSED, 10, 20, accuracy=0.2),
        timed(4, RUNNING),
    ]
    assert next_job(trials, LADDER, budget(65.0)) == Continue(3, 2), "it has the fewest stages left"
    rest = [replace(one, state=RUNNING) if one.number == 3 else one for one in trials]
    assert next_job(rest, LADDER, budget(65.0)) == Continue(2, 1), "then the best of the others"
    assert next_job(rest, LADDER, budget(50.0)) == Wait(), "none of them could end"


def test_a_promotion_that_cannot_end_is_left_for_one_that_can():
    slow = timed(1, PAUSED, 40, accuracy=0.9)
    quick = timed(2, PAUSED, 5, accuracy=0.8)
    more = [timed(number, TrialState.PRUNED, 10, accuracy=0.1) for number in range(3, 9)]
    trials = [timed(0, COMPLETE, 10, 20, 40), slow, quick, *more]
    assert next_job(trials, LADDER, budget(300.0)) == Continue(1, 1)
    assert next_job(trials, LADDER, budget(65.0)) == Continue(2, 1)


def test_the_best_left_is_run_to_its_end_beyond_the_time_only_without_any_winner():
    paused = timed(1, PAUSED, 10)
    alone = next_job([paused], LADDER, budget(-5.0, exhausted=True))
    assert alone == Continue(1, 2, run_to_end=True)
    winner = timed(0, COMPLETE, 10, 20, 40)
    assert next_job([winner, paused], LADDER, budget(-5.0, exhausted=True)) == Finished()


def test_repeats_that_cannot_end_are_left_out():
    trials = [timed(0, COMPLETE, 10, 20, 40)]
    finals = FinalistSettings(count=1, seeds=1)
    there = budget(0.0, exhausted=True, finals_left_s=80.0)
    assert next_job(trials, LADDER, there, finals) == Repeat(0, 1)
    assert next_job(trials, LADDER, replace(there, finals_left_s=60.0), finals) == Finished()


@pytest.mark.parametrize(("hours_of_one", "ended"), [(1.0, 16), (1.25, 16), (1.5, 16)])
def test_sixteen_workers_end_what_they_begin(hours_of_one, ended):
    """With the time of 16 to 24 trainings; without weights 3, 7 and 8 of them ended."""
    assert _ended(16, hours_of_one * 24.0, weights=(2.0, 6.0, 16.0)) == ended
    assert _ended(16, hours_of_one * 24.0, weights=()) < ended / 1.5


def _ended(workers: int, total_s: float, *, weights: tuple[float, ...]) -> int:
    """Trials that end in time if all take 2, 6 and 16 seconds for their stages."""
    lasts, rng = (2.0, 6.0, 16.0), np.random.default_rng(0)
    trials, events, now_s, free = [], [], 0.0, workers
    levels: list[float] = []

    def start(number: int, to: int) -> None:
        one = trials[number]
        trials[number] = replace(one, state=RUNNING, stop_after_stage=to)
        heapq.heappush(events, (now_s + lasts[len(one.reports)], number))

    while True:
        while free:
            there = budget(total_s - now_s, trials_left=999, weights=weights)
            job = next_job(trials, LADDER, there)
            if isinstance(job, NewTrial):
                trials.append(timed(len(trials), PAUSED))
                levels.append(rng.uniform(0.2, 0.5))
                start(len(trials) - 1, 0)
            elif isinstance(job, Continue):
                start(job.number, job.stop_after_stage)
            else:
                break
            free -= 1
        if not events or events[0][0] > total_s:
            return sum(one.state is COMPLETE for one in trials)
        now_s, number = heapq.heappop(events)
        one = trials[number]
        count = len(one.reports) + 1
        state = COMPLETE if count == 3 else PAUSED
        fresh = timed(number, state, *lasts[:count], accuracy=levels[number])
        trials[number] = replace(fresh, stop_after_stage=one.stop_after_stage)
        if count < 3 and one.stop_after_stage >= count:
            start(number, one.stop_after_stage)
        else:
            free += 1


def of_seconds(report, **seconds):
    return replace(report, seconds=PhaseSeconds(**({"train": 0.0, "validate": 0.0} | seconds)))


def test_a_longer_training_builds_and_traces_once():
    head, first, second = climb([0.4], [0.5, 0.6])
    reports = (
        of_seconds(head, train=1.0, validate=0.5, store=7.0),
        of_seconds(first, train=4.0, validate=9.0, build=3.0, trace=10.0),
        of_seconds(second, train=4.0, validate=1.0, data_wait=0.5),
    )
    same = (StageLength(1, is_frozen=True), StageLength(2, is_frozen=False))
    assert final_training_s(reports, same) == pytest.approx(7 + 1.5 + 13 + 2 * (4.25 + 1.0))
    longer = (StageLength(1, is_frozen=True), StageLength(20, is_frozen=False))
    assert final_training_s(reports, longer) == pytest.approx(7 + 1.5 + 13 + 20 * (4.25 + 1.0))
    larger = (same[0], StageLength(2, is_frozen=False, area_px=4 * 128 * 128))  # the stage ran at 128 px
    assert final_training_s(reports, larger) == pytest.approx(7 + 1.5 + 13 + 2 * 4 * (4.25 + 1.0))
    assert final_training_s(reports, (*same, same[1])) is None, "the trial shows nothing of a third stage"
    assert final_training_s(reports, same[:1]) is None, "and its second stage would be left out"
    own = (StageLength(1, is_frozen=True), StageLength(None, is_frozen=False))
    assert final_training_s(reports, own) == final_training_s(reports, same), "the file leaves the trial's epochs"


def test_a_prediction_takes_what_the_fastest_validation_of_the_last_stage_took():
    head, first, second = climb([0.4], [0.5, 0.6])
    reports = tuple(of_seconds(one, validate=seconds) for one, seconds in ((head, 0.1), (first, 9.0), (second, 1.0)))
    head_stage, last = StageLength(1, is_frozen=True), StageLength(2, is_frozen=False)
    assert validation_s(reports, (head_stage, last)) == 1.0
    assert validation_s(reports, (head_stage, replace(last, area_px=4 * 128 * 128))) == 4.0, "the stage ran at 128 px"
    assert validation_s(reports, ()) == 1.0
    assert validation_s(reports[:1], (head_stage,)) is None, "by kept features"


def test_epochs_that_something_slowed_down_are_not_multiplied():
    head, *slowed = climb([0.4], [0.5] * 6)
    seconds = (23.2, 24.2, 14.7, 13.9, 12.4, 25.3)  # of a real stage, beside other processes for half of its time
    reports = (of_seconds(head), *(of_seconds(report, train=s) for report, s in zip(slowed, seconds, strict=True)))
    stages = (StageLength(1, is_frozen=True), StageLength(16, is_frozen=False))
    assert final_training_s(reports, stages) == pytest.approx(16 * 13.9)


def test_a_stage_of_one_epoch_is_not_multiplied_with_its_tracing():
    head, half = climb([0.4], [0.5])
    reports = (of_seconds(head, train=1.0), of_seconds(half, train=2.0, validate=1.0, trace=12.0, build=5.0))
    stages = (StageLength(2, is_frozen=True), StageLength(10, is_frozen=False))
    assert final_training_s(reports, stages) == pytest.approx(2 * 1.0 + 17.0 + 10 * 3.0)
    assert trial(0, COMPLETE, reports).trained_s * 12 / 2 == 126.0, "what the ratio of epochs would say"


def test_a_stage_that_trains_fewer_blocks_is_timed_by_the_trials_stage_that_did():
    head, most, first, second = (replace(one, image_size=128) for one in climb([0.4], [0.5], [0.6, 0.7]))
    reports = (
        of_seconds(head, train=1.0),
        of_seconds(most, train=3.0, validate=1.0, trace=5.0),
        of_seconds(first, train=6.0, validate=1.0, trace=9.0),
        of_seconds(second, train=6.0, validate=1.0),
    )
    same = (StageLength(1, is_frozen=True), StageLength(1, is_frozen=False), StageLength(None, is_frozen=False))
    assert final_training_s(reports, same) == pytest.approx(1 + 5 + 4 + 9 + 2 * 7)
    fewer = (*same[:2], StageLength(None, is_frozen=False, paced_by=1))
    assert final_training_s(reports, fewer) == pytest.approx(1 + 5 + 4 + 5 + 2 * 4), "as many epochs as the trial had"
    longer = (*same[:2], StageLength(10, is_frozen=False, paced_by=1))
    assert final_training_s(reports, longer) == pytest.approx(1 + 5 + 4 + 5 + 10 * 4)
    larger = (*reports[:2], *(replace(report, image_size=256) for report in reports[2:]))
    assert final_training_s(larger, fewer) == pytest.approx(1 + 5 + 4 + 5 + 2 * 4 * 4), "at its own stage's size"
    frozen = (same[0], StageLength(1, is_frozen=True), fewer[2])  # then no other stage of 128 px trains blocks
    assert final_training_s(larger, frozen) == pytest.approx(1 + 5 + 3 + 5 + 2 * 4 * 4)


def test_a_stopped_trial_is_timed_by_the_last_stage_that_it_ended():
    whole, (head, half) = climb([0.4], [0.5], [0.6]), climb([0.4], [0.5])
    ours = (of_seconds(head, train=50.0), of_seconds(half, train=6.0, validate=1.0, data_wait=1.0))
    theirs = tuple(of_seconds(report, train=3.0, validate=1.0) for report in whole)
    assert relative_pace(ours, theirs, per_pixel=False) == pytest.approx(8.0 / 4.0)
    larger = tuple(replace(report, image_size=2 * report.image_size) for report in ours)
    assert relative_pace(larger, theirs, per_pixel=True) == pytest.approx(8.0 / 4.0 / 4)
    assert relative_pace(ours, theirs[:1], per_pixel=True) == 1.0, "the other one shows nothing of that stage"
    assert relative_pace((), theirs, per_pixel=True) == 1.0
