"""The dispatcher of a study with a portfolio, and of one whose hours are planned as a whole."""

import json
from dataclasses import asdict, replace

import pytest

from search.driver.study_dispatch import StudyDispatcher
from search.experiment.changes import Change
from search.experiment.portfolio import builtin_recipes
from search.policy.policy import search_policy
from search.policy.records import OUT_OF_TIME, OUT_OF_WHOLE, TrialState
from search.policy.time_plan import DONE
from search.study.run_hours import WholeRun
from search.worker.segment import Outcome
from tests.helpers.search.dispatch_desk import CPU, FINALS

RECIPE = builtin_recipes()[0]


def test_a_recipe_is_handed_out_as_it_is(open_desk) -> None:
    desk = open_desk("search.trials=2")
    desk.dispatcher = StudyDispatcher(
        desk.experiment,
        desk.study,
        desk.folder,
        policy=search_policy(desk.experiment, (RECIPE,)),
        worker=CPU,
        clock_s=desk.clock,
    )
    first, second = desk.take(), desk.take()
    assert desk.study.record(first.number).is_baseline
    assert second.config == RECIPE.config.model_dump(mode="json")
    assert desk.study.record(second.number).params == {"portfolio": RECIPE.name}
    assert desk.study.record(second.number).stage_count == len(RECIPE.config.stages)


def test_a_whole_run_leaves_time_for_what_follows_the_search(open_desk) -> None:
    desk = open_desk("search.trials=50")
    whole = WholeRun(hours=1.0, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1)
    replace(whole, stage_weights=(1.0, 3.0)).keep(desk.study)
    desk.dispatcher = StudyDispatcher(
        desk.experiment, desk.study, desk.folder, policy=search_policy(desk.experiment), worker=CPU, clock_s=desk.clock
    )
    baseline = desk.take()
    assert desk.dispatcher._budget().stage_weights == (1.0, 3.0)
    desk.clock.now_s += 2231.0
    assert not desk.dispatcher._budget().exhausted, "62 % of an hour are the search's until a training is measured"
    desk.clock.now_s += 2.0
    assert desk.dispatcher._budget().exhausted
    assert not desk.dispatcher.is_out_of_time(baseline.number), "the baseline ends"
    assert desk.state(baseline.number) is TrialState.RUNNING


@pytest.mark.parametrize(("hours", "cause"), [(6.0, OUT_OF_WHOLE), (1.0, OUT_OF_TIME)])
def test_a_trial_that_is_cut_off_tells_whose_hours_are_used_up(open_desk, hours: float, cause: str) -> None:
    desk = open_desk("search.trials=50", f"search.budget.hours={hours}")
    WholeRun(hours=1.0, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1).keep(desk.study)
    desk.dispatcher = StudyDispatcher(
        desk.experiment, desk.study, desk.folder, policy=search_policy(desk.experiment), worker=CPU, clock_s=desk.clock
    )
    for _ in range(2):  # the baseline's stages
        desk.work(desk.take())
    trial = desk.take()
    desk.clock.now_s += 3601.0
    desk.epoch(trial.number)
    assert desk.dispatcher.is_out_of_time(trial.number)
    desk.dispatcher.segment_ended(trial.number, Outcome("out_of_time"))
    record = desk.study.record(trial.number)
    assert (record.cause, record.is_cut_off) == (cause, True)
    assert desk.dispatcher.next_segment() == "finished"


def test_a_search_that_is_continued_after_a_whole_run_has_its_own_budget(open_desk) -> None:
    desk = open_desk("search.trials=50")
    whole = WholeRun(hours=1.0, outside_s=3000.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1, stage=DONE)
    whole.keep(desk.study)
    desk.dispatcher = StudyDispatcher(
        desk.experiment, desk.study, desk.folder, policy=search_policy(desk.experiment), worker=CPU, clock_s=desk.clock
    )
    budget = desk.dispatcher._budget()
    assert not budget.exhausted
    assert budget.left_s is None
    desk.take()


def test_a_budget_that_is_raised_in_a_whole_run_gives_its_search_more_time(open_desk) -> None:
    desk = open_desk("search.trials=50", "search.budget.hours=0.5")
    kept = WholeRun(hours=8.0, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1)
    desk.study.set_value("whole_run", json.dumps({**asdict(kept), "search_hours": 0.5}))  # as some studies have it
    desk = open_desk("search.trials=50", "search.budget.hours=0.5")
    assert desk.dispatcher._budget().left_s == pytest.approx(1800.0)
    desk = open_desk("search.trials=50", "search.budget.hours=2")
    assert desk.dispatcher._budget().left_s == pytest.approx(7200.0)


@pytest.mark.parametrize(("hours", "used_s", "by"), [(8.0, 2600.0, 0.0), (1.0, 1500.0, 1.0), (0.5, 1700.0, 0.5)])
def test_the_study_keeps_which_hours_ended_its_search(open_desk, hours: float, used_s: float, by: float) -> None:
    desk = open_desk(*FINALS, "search.trials=50", "search.budget.hours=1")
    WholeRun(hours=hours, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1).keep(desk.study)
    desk = open_desk(*FINALS, "search.trials=50", "search.budget.hours=1")
    for _ in range(2):
        desk.work(desk.take(), train_s=500.0)
    assert (desk.dispatcher._budget().exhausted, desk.study.exhausted_by) == (False, None)
    desk.clock.now_s += used_s
    assert desk.dispatcher._budget().exhausted
    desk.clock.now_s += 3600.0
    assert desk.dispatcher._budget().finals_exhausted
    assert desk.study.exhausted_by == by, "what was used up later did not end the search"
    desk.study.set_budget_exhausted(False)
    assert desk.study.exhausted_by is None


def test_an_interrupted_trial_that_is_too_late_to_resume_waits_for_more_hours(open_desk) -> None:
    desk = open_desk("search.trials=2")
    whole = WholeRun(hours=1.0, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1)
    whole.keep(desk.study)
    desk = open_desk("search.trials=2")
    for _ in range(2):  # the baseline's stages
        desk.work(desk.take())
    trial = desk.take()
    desk.epoch(trial.number)
    desk.dispatcher.segment_ended(trial.number, Outcome("killed", "its worker died"))
    desk.clock.now_s += 3601.0
    assert desk.dispatcher.next_segment() == "finished"
    desk.study.finish()
    record = desk.study.record(trial.number)
    assert (record.state, record.cause, record.is_cut_off) == (TrialState.WAITING, OUT_OF_WHOLE, True)
    replace(whole, stage=DONE).keep(desk.study)
    desk.study.add_changes([Change("search.trials", 2, 3)])
    assert open_desk("search.trials=3").take().number == trial.number
