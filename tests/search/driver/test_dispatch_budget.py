"""The budget of a search: hours, GPU-hours and trials."""

from dataclasses import replace

import pytest

from search.experiment.changes import Change
from search.policy.finals import final_standing
from search.policy.records import TrialState
from search.worker.segment import Outcome, Segment
from tests.helpers.search.dispatch_desk import CPU, FINALS, Desk
from tests.helpers.search.tiny import STAGES


def test_hours_end_new_trials_and_promotions_but_not_the_baseline(open_desk) -> None:
    desk = open_desk("search.budget.hours=2")
    desk.work(desk.take())
    desk.work(desk.take())
    desk.work(desk.take())
    assert (desk.state(0), desk.state(1)) == (TrialState.COMPLETE, TrialState.PAUSED)

    desk.clock.now_s += 2 * 3600
    to_end = desk.take()

    assert (to_end.number, to_end.stop_after_stage) == (1, 1)
    assert desk.study.budget_exhausted
    desk.work(to_end)
    assert desk.dispatcher.next_segment() == "finished"
    assert len(desk.study.records()) == 2
    assert desk.study.elapsed_s == pytest.approx(2 * 3600)


LONG_HEADS = "train.stages.head.epochs=6"


def cut_off(desk: Desk, number: int) -> None:
    """Does what an executor does once an epoch is recorded."""
    assert desk.dispatcher.is_out_of_time(number)
    desk.dispatcher.segment_ended(number, Outcome("out_of_time"))


def whole_baseline(desk: Desk) -> None:
    for stage, epochs in enumerate((6, 1)):
        assert desk.take().number == 0
        for at in range(1, epochs + 1):
            desk.epoch(0, stage=stage, ended=at == epochs)
            assert not desk.dispatcher.is_out_of_time(0), "the baseline always runs to its end"
        desk.dispatcher.segment_ended(0, Outcome("ended"))


def test_used_up_hours_stop_running_trials_and_the_best_one_finishes(open_desk) -> None:
    hours = "search.budget.hours=2"
    desk = open_desk(LONG_HEADS, hours)
    whole_baseline(desk)
    first, second = desk.take(), desk.take()
    desk.epoch(first.number, accuracy=0.6)
    assert not desk.dispatcher.is_out_of_time(first.number)
    desk.clock.now_s += 2 * 3600
    desk.epoch(first.number, accuracy=0.7)
    cut_off(desk, first.number)
    desk.epoch(second.number, accuracy=0.9)
    cut_off(desk, second.number)
    assert [desk.state(number) for number in (1, 2)] == [TrialState.WAITING] * 2
    assert [desk.study.record(number).deaths for number in (1, 2)] == [(), ()], "an interruption is not a death"

    to_end = desk.take()
    assert (to_end.number, to_end.stop_after_stage, to_end.resume) == (2, 1, "attempt-0/epoch-0001.npz")
    desk.epoch(2, accuracy=0.9)
    assert not desk.dispatcher.is_out_of_time(2), "run to its end"
    desk.study.interrupt_running()  # the driver is killed
    desk = open_desk(LONG_HEADS, hours)
    assert desk.take().number == 2, "and resumed after that"
    desk.dispatcher.segment_ended(2, Outcome("failed", "odd"))
    assert desk.take().number == 1, "the next best in its place"
    desk.dispatcher.segment_ended(1, Outcome("failed", "odd"))
    assert desk.dispatcher.next_segment() == "finished"


def test_cut_off_trials_resume_with_more_hours(open_desk) -> None:
    desk = open_desk(LONG_HEADS, "search.budget.hours=2")
    whole_baseline(desk)
    paused, cut = desk.take(), desk.take()
    for at in range(1, 7):
        desk.epoch(paused.number, ended=at == 6, accuracy=0.8)
    assert not desk.dispatcher.is_out_of_time(paused.number)
    desk.dispatcher.segment_ended(paused.number, Outcome("ended"))
    desk.clock.now_s += 2 * 3600
    desk.epoch(cut.number, accuracy=0.3)
    cut_off(desk, cut.number)
    to_end = desk.take()
    assert (to_end.number, to_end.stop_after_stage) == (1, 1)
    desk.epoch(1, stage=1, ended=True, accuracy=0.8)
    desk.dispatcher.segment_ended(1, Outcome("ended"))
    assert desk.dispatcher.next_segment() == "finished"
    desk.study.finish()
    assert desk.study.is_finished
    assert [desk.state(number) for number in range(3)] == [TrialState.COMPLETE] * 2 + [TrialState.WAITING]

    desk.study.add_changes([Change("search.budget.hours", 2.0, 9.0)])
    more = open_desk(LONG_HEADS, "search.budget.hours=9")
    again = more.take()
    assert (again.number, again.attempt, again.resume) == (2, 1, "attempt-0/epoch-0001.npz")


def test_hours_cut_off_repeats_and_the_search_reserves_time_for_them(open_desk) -> None:
    desk = open_desk(*FINALS, "search.budget.hours=6")
    desk.work(desk.take(), train_s=1200.0)
    desk.work(desk.take(), train_s=1200.0)  # the baseline, in an hour; its repeats and another's are due: four hours
    trial = desk.take()
    desk.epoch(trial.number, accuracy=0.1)
    assert not desk.dispatcher.is_out_of_time(trial.number)
    desk.clock.now_s += 3 * 3600  # half of the hours is what finals get at most
    desk.epoch(trial.number, accuracy=0.1, ended=True)
    assert not desk.dispatcher.is_out_of_time(trial.number), "it is at its rung"
    desk.dispatcher.segment_ended(trial.number, Outcome("ended"))
    desk.work(desk.take(), accuracy=0.1)  # run to its end
    repeat = desk.take()
    assert desk.study.record(repeat.number).repeats == 0
    desk.epoch(repeat.number)
    assert not desk.dispatcher.is_out_of_time(repeat.number)
    desk.clock.now_s += 3 * 3600
    desk.epoch(repeat.number, ended=True)
    cut_off(desk, repeat.number)
    assert desk.dispatcher.next_segment() == "finished"
    desk.study.finish()
    assert desk.state(repeat.number) is TrialState.WAITING
    assert final_standing(desk.study.records()) == (), "half a repeat does not count"


def test_gpu_hours_let_running_trials_reach_their_rung(open_desk) -> None:
    desk = open_desk(LONG_HEADS, "search.budget.gpu_hours=1", worker=replace(CPU, gpu_share=1.0))
    whole_baseline(desk)
    segment = desk.take()
    desk.epoch(segment.number, train_s=7200.0)
    assert not desk.dispatcher.is_out_of_time(segment.number)


def test_the_baseline_finishes_on_an_exhausted_budget(open_desk) -> None:
    desk = open_desk("search.budget.hours=1")
    desk.clock.now_s += 3601
    for _ in range(STAGES):
        desk.work(desk.take())
    assert desk.dispatcher.next_segment() == "finished"
    assert [record.state for record in desk.study.records()] == [TrialState.COMPLETE]


def test_the_clock_continues_over_runs_of_the_driver(open_desk) -> None:
    desk = open_desk("search.budget.hours=2")
    desk.work(desk.take())
    desk.clock.now_s += 1.5 * 3600
    desk.work(desk.take())
    assert desk.study.elapsed_s == pytest.approx(1.5 * 3600)

    again = open_desk("search.budget.hours=2")
    assert again.take().number == 1
    again.epoch(1)
    again.clock.now_s += 0.5 * 3600
    assert again.dispatcher.elapsed_s() == pytest.approx(2 * 3600)
    again.epoch(1, ended=True)
    again.dispatcher.segment_ended(1, Outcome("ended"))
    assert again.take().number == 1, "run to its end, since no third trial starts"
    assert again.study.budget_exhausted


def test_an_exhausted_budget_stays_exhausted(open_desk) -> None:
    desk = open_desk("search.budget.hours=1")
    desk.work(desk.take())
    desk.work(desk.take())
    desk.clock.now_s += 3601
    assert desk.dispatcher.next_segment() == "finished"

    again = open_desk()
    assert again.study.budget_exhausted
    assert again.dispatcher.next_segment() == "finished"
    assert len(again.study.records()) == 1


@pytest.mark.parametrize(("gpu_share", "trials"), [(1.0, 1), (0.5, 3), (None, 4)])
def test_gpu_hours_count_shares_of_a_gpu(open_desk, gpu_share: float | None, trials: int) -> None:
    desk = open_desk("search.budget.gpu_hours=1", worker=replace(CPU, gpu_share=gpu_share))
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        desk.work(segment, train_s=1200.0)
    # A trial of three epochs takes an hour; the baseline is granted its whole.
    assert len(desk.study.records()) == trials
    assert desk.study.budget_exhausted is (gpu_share is not None)


def test_spent_gpu_hours_stay_spent_with_another_share(open_desk) -> None:
    desk = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.25))
    desk.work(desk.take(), train_s=3600.0)  # two epochs
    whole = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=1.0))
    whole.work(whole.take(), train_s=1800.0)  # one
    assert not whole.study.budget_exhausted
    assert whole.study.gpu_meter.used_s(2 * 3600 + 1800) == 3600

    none = open_desk("search.budget.gpu_hours=1", worker=CPU)
    assert none.dispatcher.next_segment() == "finished"
    assert none.study.budget_exhausted


def test_gpu_hours_of_lost_epochs_stay_spent(open_desk) -> None:
    desk = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.5))
    desk.take()
    for _ in range(2):
        desk.epoch(0, train_s=3600.0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    desk.take()
    desk.dispatcher.fell_back(0, 1)
    again = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.5))
    assert again.study.gpu_meter.used_s(3600) == 3600, "two hours of half a GPU, though one of them was lost"
