import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.policy.records import OUT_OF_TIME, OUT_OF_WHOLE, TrialState
from search.policy.rungs import Ladder
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Wait, late, next_job
from tests.helpers.search.policy_builders import Search, by_number, trial

PAUSED, RUNNING, WAITING, COMPLETE, FAIL = (
    TrialState.PAUSED,
    TrialState.RUNNING,
    TrialState.WAITING,
    TrialState.COMPLETE,
    TrialState.FAIL,
)
THIRD = Ladder(reduction_factor=3)
HALF = Ladder(reduction_factor=2)
PLENTY = BudgetState(trials_left=5, exhausted=False)
NO_TRIALS = BudgetState(trials_left=0, exhausted=False)
NO_TIME = BudgetState(trials_left=5, exhausted=True)
DONE_BASELINE = trial(0, COMPLETE, [0.1], [0.1], [0.1])


def test_the_first_job_is_the_baseline_even_without_time():
    assert next_job([], THIRD, PLENTY) == NewTrial()
    assert next_job([], THIRD, NO_TIME) == NewTrial()
    assert next_job([], THIRD, NO_TRIALS) == Finished()


def test_an_interrupted_trial_resumes_first():
    promotable = [trial(number, PAUSED, [0.1 * number]) for number in range(1, 4)]
    interrupted = trial(4, WAITING, [0.2], stop_after_stage=2, attempts=2)
    assert next_job([DONE_BASELINE, *promotable, interrupted], THIRD, NO_TIME) == Continue(4, stop_after_stage=2)


@pytest.mark.parametrize(("ladder", "stop"), [(THIRD, 0), (Ladder(3, prunes=False), 2)])
def test_a_recorded_trial_that_never_started_is_started(ladder: Ladder, stop: int):
    assert next_job([trial(0, WAITING)], ladder, PLENTY) == Continue(0, stop_after_stage=stop)


@pytest.mark.parametrize("budget", [PLENTY, NO_TRIALS, NO_TIME])
def test_the_baseline_continues_at_any_score(budget: BudgetState):
    others = [trial(number, PAUSED, [0.9]) for number in range(1, 4)]
    assert next_job([trial(0, PAUSED, [0.0]), *others], THIRD, budget) == Continue(0, stop_after_stage=1)


def test_the_best_third_of_a_rung_is_promoted():
    paused = [trial(1, PAUSED, [0.3]), trial(2, PAUSED, [0.8]), trial(3, PAUSED, [0.5])]
    assert next_job([DONE_BASELINE, *paused[:1]], THIRD, PLENTY) == NewTrial()
    assert next_job([DONE_BASELINE, *paused], THIRD, PLENTY) == Continue(2, stop_after_stage=1)


def test_promotions_are_exact_for_powers_of_the_reduction_factor():
    paused = [trial(number, PAUSED, [number / 1000]) for number in range(1, 243)]
    promoted = [trial(number, RUNNING, [number / 1000]) for number in range(243, 323)]
    # 243 + 80 trials have ended the rung: 107 places, 80 of them taken by those that run on.
    for more in range(27):
        records = [DONE_BASELINE, *paused, *promoted]
        assert next_job(records, THIRD, PLENTY) == Continue(242 - more, stop_after_stage=1)
        promoted.append(trial(paused.pop().number, RUNNING, [(242 - more) / 1000]))
    assert next_job([DONE_BASELINE, *paused, *promoted], THIRD, PLENTY) == NewTrial()


def test_promoted_trials_still_count_in_their_rung():
    records = [DONE_BASELINE, trial(1, COMPLETE, [0.8], [0.8], [0.8]), trial(2, PAUSED, [0.5]), trial(3, PAUSED, [0.4])]
    assert next_job(records, THIRD, PLENTY) == NewTrial()
    assert next_job(records, HALF, PLENTY) == Continue(2, stop_after_stage=1)


def test_the_top_rung_comes_first():
    low = [trial(number, PAUSED, [0.9]) for number in range(4, 8)]
    high = [trial(number, PAUSED, [0.5], [0.1 * number]) for number in range(1, 4)]
    assert next_job([DONE_BASELINE, *high, *low], HALF, PLENTY) == Continue(3, stop_after_stage=2)


def test_ties_are_broken_by_log_loss_then_by_number():
    def paused(number: int, log_loss: float):
        tied = trial(number, PAUSED, [0.5])
        return trial(number, PAUSED, reports=tuple(_with_log_loss(r, log_loss) for r in tied.reports))

    assert next_job([DONE_BASELINE, paused(1, 2.0), paused(2, 1.0), paused(3, 1.5)], HALF, PLENTY).number == 2
    assert next_job([DONE_BASELINE, paused(1, 2.0), paused(2, 1.0), paused(3, 1.0)], THIRD, PLENTY).number == 2


def _with_log_loss(report, log_loss: float):
    from dataclasses import replace

    return replace(report, val_log_loss=log_loss)


def test_nan_and_failed_trials_are_never_promoted():
    nan = [trial(number, PAUSED, [math.nan]) for number in range(1, 5)]
    assert next_job([DONE_BASELINE, *nan], HALF, PLENTY) == NewTrial()
    failed = trial(5, FAIL, [0.9], infeasible=True)
    assert next_job([DONE_BASELINE, failed, trial(6, PAUSED, [0.5])], THIRD, PLENTY).number == 6


def test_out_of_time_only_the_best_trial_runs_to_its_end():
    paused = [trial(1, PAUSED, [0.3]), trial(2, PAUSED, [0.4], [0.2]), trial(3, PAUSED, [0.35])]
    assert next_job([DONE_BASELINE, *paused, trial(4, RUNNING)], THIRD, NO_TIME) == Wait()
    assert next_job([DONE_BASELINE, *paused], THIRD, NO_TIME) == Continue(2, stop_after_stage=2, run_to_end=True)


def test_one_trial_runs_to_its_end_per_number_of_trials():
    to_end = trial(2, COMPLETE, [0.4], [0.2], [0.5], run_to_end_at=3)
    paused = trial(1, PAUSED, [0.3])
    assert next_job([DONE_BASELINE, paused, to_end], THIRD, NO_TIME) == Finished()
    infeasible = trial(2, FAIL, run_to_end_at=3, infeasible=True)
    assert next_job([DONE_BASELINE, paused, infeasible], THIRD, NO_TRIALS) == Finished()
    extended = [DONE_BASELINE, paused, to_end, trial(3, PAUSED, [0.2])]
    assert next_job(extended, Ladder(9), NO_TRIALS) == Continue(1, stop_after_stage=2, run_to_end=True)


def test_the_next_best_replaces_a_lost_trial_run_to_its_end():
    lost = trial(3, FAIL, [0.9], run_to_end_at=4)
    records = [DONE_BASELINE, trial(1, PAUSED, [0.3]), trial(2, PAUSED, [0.4]), lost]
    assert next_job(records, THIRD, NO_TIME) == Continue(2, stop_after_stage=2, run_to_end=True)
    records[2] = trial(2, COMPLETE, [0.4], [0.4], [0.4], run_to_end_at=4)
    assert next_job(records, THIRD, NO_TIME) == Finished()


def test_without_stopping_paused_trials_run_to_their_end():
    straight = Ladder(3, prunes=False)
    assert next_job([DONE_BASELINE, trial(1, PAUSED, [0.1])], straight, PLENTY) == Continue(1, stop_after_stage=2)


ADAPTIVE = Ladder(3, adaptive=True)


def test_an_adaptive_ladder_skips_unreliable_rungs():
    fresh = [DONE_BASELINE, trial(1, WAITING)]
    assert next_job(fresh, ADAPTIVE, PLENTY) == Continue(1, stop_after_stage=1)
    agreed = [trial(number, PAUSED, [0.1 * number], [0.1 * number]) for number in range(1, 7)]
    assert next_job([DONE_BASELINE, trial(7, WAITING), *agreed], ADAPTIVE, PLENTY) == Continue(7, stop_after_stage=0)


def test_trials_paused_at_an_unreliable_rung_continue_last():
    crossed = [trial(number, COMPLETE, [0.1 * number], [1 - 0.1 * number], [0.1]) for number in range(1, 7)]
    held_back = [trial(7, PAUSED, [0.8]), trial(8, PAUSED, [0.9]), trial(9, PAUSED, [0.7])]
    records = [DONE_BASELINE, *crossed, *held_back]
    assert next_job(records, THIRD, PLENTY) == Continue(8, stop_after_stage=1), "it is among the best third"
    assert next_job(records, ADAPTIVE, PLENTY) == NewTrial()
    assert next_job(records, ADAPTIVE, NO_TRIALS) == Continue(8, stop_after_stage=1)
    assert next_job([*records, trial(10, RUNNING)], ADAPTIVE, NO_TRIALS) == Continue(8, stop_after_stage=1)
    assert next_job(records, ADAPTIVE, NO_TIME) == Continue(8, stop_after_stage=2, run_to_end=True)


def test_failed_trials_are_never_continued():
    assert next_job([trial(0, FAIL, [0.9], infeasible=True), trial(1, FAIL)], HALF, NO_TRIALS) == Finished()


accuracies = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])
values = st.one_of(accuracies, accuracies, accuracies, accuracies, accuracies, st.just(math.nan))
stages = st.lists(values, min_size=1, max_size=2)
baselines = st.lists(st.lists(accuracies, min_size=1, max_size=2), min_size=1, max_size=4)
searches = st.builds(
    lambda first, rest: [first, *rest], baselines, st.lists(st.lists(stages, min_size=1, max_size=4), max_size=30)
)

ladders = st.builds(Ladder, st.integers(2, 4), st.booleans(), st.integers(0, 3), st.booleans())


def _play(curves, ladder: Ladder, workers: int, chance: Random, **settings: object) -> tuple[Search, list[Job]]:
    jobs: list[Job] = []

    def check(search: Search, job: Job) -> None:
        jobs.append(job)
        if isinstance(job, Wait):
            assert search.running(), "waits for nothing"
        if isinstance(job, Finished):
            assert not search.running()
        if isinstance(job, Continue) and not job.run_to_end:
            _check_promotion(search, job)

    search = Search(curves, ladder, workers, chance, on_job=check, **settings)
    search.play()
    return search, jobs


def _check_promotion(search: Search, job: Continue) -> None:
    """Checks the paper's rule, not our code: promoted trials are in the top floor(n / eta) of their rung."""
    record = by_number(search.records)[job.number]
    if record.state is WAITING or record.is_baseline or not search.ladder.prunes:
        return
    stage = record.rung
    if search.ladder.as_of(search.records).skips(stage, record.stage_count):
        assert search.budget.trials_left == 0, "trials paused at an unreliable rung continue once none is new"
        return
    ended = {
        other.number: max(r.val_accuracy for r in other.reports if r.stage == stage)
        for other in search.records
        if any(r.stage == stage and r.stage_ended for r in other.reports)
    }
    better = [
        number
        for number, value in ended.items()
        if value > ended[job.number] and search.records[number].state is not FAIL
    ]
    assert len(better) < len(ended) // search.ladder.reduction_factor


@given(searches, ladders, st.integers(1, 5), st.randoms())
@settings(max_examples=150, deadline=None)
def test_a_search_in_any_order_of_arrival(curves, ladder: Ladder, workers: int, chance: Random):
    search, jobs = _play(curves, ladder, workers, chance)
    assert jobs[-1] == Finished()
    assert len(search.records) == len(curves)
    assert len(set(search.trained)) == len(search.trained), "a stage was trained twice"
    assert search.records[0].state is COMPLETE
    assert sum(isinstance(job, Continue) and job.run_to_end for job in jobs) <= 1
    assert {record.state for record in search.records} <= {COMPLETE, PAUSED, FAIL}
    if not ladder.prunes:
        assert {record.state for record in search.records} <= {COMPLETE, FAIL}


long_stages = st.lists(accuracies, min_size=1, max_size=2)
long_searches = st.lists(st.lists(long_stages, min_size=4, max_size=4), min_size=8, max_size=24)


@given(long_searches, st.integers(2, 3), st.integers(1, 5), st.randoms())
@settings(max_examples=60, deadline=None)
def test_an_adaptive_search_of_four_stages(curves, reduction_factor: int, workers: int, chance: Random):
    ladder = Ladder(reduction_factor, adaptive=True)
    search, jobs = _play(curves, ladder, workers, chance)
    assert jobs[-1] == Finished()
    assert len(set(search.trained)) == len(search.trained), "a stage was trained twice"
    now = ladder.as_of(search.records)
    paused = [record for record in search.records if record.state is PAUSED]
    assert not [record for record in paused if now.skips(record.rung, record.stage_count)]


@given(searches, st.integers(1, 5), st.randoms(), st.integers(0, 12))
@settings(max_examples=80, deadline=None)
def test_a_search_that_runs_out_of_time(curves, workers: int, chance: Random, after: int):
    search, jobs = _play(curves, THIRD, workers, chance, exhausted_after=after)
    assert jobs[-1] == Finished()
    assert search.records[0].state is COMPLETE
    to_end = [record for record in search.records if record.is_run_to_end]
    assert len(to_end) <= 1
    paused = [record.best_rank for record in search.records if record.state is PAUSED]
    if paused and not any(record.state is FAIL for record in to_end):
        assert to_end[0].best_rank >= max(paused), "the best of those left paused was not run to its end"


@given(searches, st.integers(1, 5), st.randoms())
@settings(max_examples=80, deadline=None)
def test_deaths_change_no_result_but_the_order(curves, workers: int, chance: Random):
    search, jobs = _play(curves, THIRD, workers, chance, deaths_left=20)
    assert jobs[-1] == Finished()
    assert search.records[0].state is COMPLETE
    assert len(set(search.trained)) == len(search.trained)


@given(searches, st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_records_does_not_matter(curves, chance: Random):
    search, _ = _play(curves, HALF, 3, chance)
    shuffled = chance.sample(search.records, len(search.records))
    assert next_job(shuffled, HALF, NO_TRIALS) == next_job(search.records, HALF, NO_TRIALS)


def test_after_a_whole_runs_hours_no_interrupted_trial_resumes() -> None:
    over = BudgetState(trials_left=9, exhausted=True, left_s=-1.0, finals_left_s=-1.0)
    killed = trial(1, WAITING, [0.7], cause="its worker died", stop_after_stage=1)
    trials = (trial(0, COMPLETE, [0.5], [0.5], [0.5]), killed, trial(2, WAITING))
    assert next_job(trials, THIRD, over) == Finished()
    assert next_job(trials, THIRD, replace(over, left_s=9.0)) == Continue(1, 1)
    repeat = trial(3, WAITING, [0.7], cause="its worker died", stop_after_stage=2, repeats=0)
    assert next_job((*trials, repeat), THIRD, over) == Finished()
    assert next_job((*trials, repeat), THIRD, replace(over, finals_left_s=9.0)) == Continue(3, 2)
    to_end = (trials[0], replace(killed, stop_after_stage=2, run_to_end_at=2))
    assert next_job(to_end, THIRD, over) == Continue(1, 2), "on its way to its end"
    assert next_job((replace(trials[0], state=FAIL), killed), THIRD, over) == Continue(1, 1), "none is complete"
    baseline = (replace(killed, is_baseline=True), replace(trials[0], number=1))
    assert next_job(baseline, THIRD, over) == Continue(1, 1), "the baseline always ends"


def test_trials_that_a_whole_runs_hours_keep_from_resuming_are_late() -> None:
    over = BudgetState(trials_left=9, exhausted=True, left_s=-1.0, finals_left_s=9.0)
    killed = trial(1, WAITING, [0.7], cause="its worker died", stop_after_stage=1)
    others = (
        replace(killed, number=2, cause=OUT_OF_WHOLE),
        trial(3, WAITING),
        trial(4, PAUSED, [0.6]),
        replace(killed, number=5, run_to_end_at=5),
        replace(killed, number=6, repeats=0),
    )
    trials = (trial(0, COMPLETE, [0.5], [0.5], [0.5]), killed, *others)
    assert late(trials, over) == [killed]
    assert late(trials, replace(over, finals_left_s=-1.0)) == [killed, others[-1]]
    assert late(trials[1:], over) == [], "without a winner it resumes"
    assert late(trials, NO_TIME) == [], "it resumes after search.budget.hours"


def test_a_cut_off_trial_waits_for_more_hours() -> None:
    cut = {"cause": OUT_OF_TIME, "stop_after_stage": 1}
    trials = (
        trial(0, COMPLETE, [0.5], [0.5], [0.5]),
        trial(1, PAUSED, [0.6]),
        trial(2, WAITING, [0.7], **cut),
        trial(3, WAITING, [0.3], **cut),
    )
    assert next_job(trials, THIRD, PLENTY) == Continue(2, 1), "with hours left it resumes first"
    assert next_job(trials, THIRD, NO_TIME) == Continue(2, 2, run_to_end=True)
    over = (*trials[:2], trial(2, COMPLETE, [0.7], [0.7], [0.7], run_to_end_at=4), trials[3])
    assert next_job(over, THIRD, NO_TIME) == Finished()
    killed = (*trials[:2], replace(trials[2], cause="its worker died"), trials[3])
    assert next_job(killed, THIRD, NO_TIME) == Continue(2, 1), "a trial interrupted for another reason resumes"
    to_end = (*trials[:2], replace(trials[2], stop_after_stage=2, run_to_end_at=4), trials[3])
    assert next_job(to_end, THIRD, NO_TIME) == Continue(2, 2), "on its way to its end"
