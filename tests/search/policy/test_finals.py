"""The finals: which trials are repeated, when, and with what result."""

import math
from copy import copy
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.experiment.domains import Uniform
from search.experiment.search_settings import FinalistSettings
from search.experiment.space import Parameter, Space
from search.policy.finals import NO_FINALS, due_repeats, due_s, final_standing, finalists
from search.policy.optuna_view import as_optuna_trials
from search.policy.policy import Proposal, SearchPolicy
from search.policy.records import TrialRecord, TrialState, searched
from search.policy.rungs import Ladder, ordinary_trials, promotable, standing
from search.policy.sampler import ask
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Repeat, Wait, next_job
from tests.helpers.search.policy_builders import Search, reports, trial

COMPLETE, FAIL, PAUSED, RUNNING, WAITING = (
    TrialState.COMPLETE,
    TrialState.FAIL,
    TrialState.PAUSED,
    TrialState.RUNNING,
    TrialState.WAITING,
)
HALF = Ladder(reduction_factor=2)
TWO_TWICE = FinalistSettings(count=2, seeds=2)
NO_TRIALS = BudgetState(trials_left=0, exhausted=False)
NO_TIME = BudgetState(trials_left=5, exhausted=True)
NOTHING_LEFT = BudgetState(trials_left=5, exhausted=True, finals_exhausted=True)
SPACE = Space({"x": Parameter("x", Uniform(0.0, 100.0), ())})


def whole(number: int, accuracy: float, **changes: object) -> TrialRecord:
    """A trial that had all its stages."""
    return trial(number, COMPLETE, [0.1], [accuracy], stage_count=2, **changes)


def repeat(number: int, of: int, accuracy: float, **changes: object) -> TrialRecord:
    return replace(whole(number, accuracy, params={"x": float(of)}, is_baseline=False), repeats=of, **changes)


SEARCHED = [whole(0, 0.6), whole(1, 0.7), whole(2, 0.9), whole(3, 0.8), trial(4, PAUSED, [0.1], run_to_end_at=5)]
"""The baseline ranks fourth."""


def test_the_best_and_the_baseline_are_finalists():
    assert [one.number for one in finalists(SEARCHED, FinalistSettings(count=2))] == [0, 2, 3]
    assert [one.number for one in finalists(SEARCHED, FinalistSettings(count=9))] == [0, 2, 3, 1]
    assert [one.number for one in finalists([whole(0, 0.95), *SEARCHED[1:]], TWO_TWICE)] == [0, 2]
    assert finalists(SEARCHED, NO_FINALS) == []
    assert finalists([trial(0, FAIL), trial(1, PAUSED, [0.9])], TWO_TWICE) == []


def test_ties_for_the_last_place_are_broken_by_log_loss_then_by_number():
    tied = [whole(0, 0.1), whole(1, 0.5), whole(2, 0.5), whole(3, 0.5)]
    assert [one.number for one in finalists(tied, FinalistSettings(count=1))] == [0, 1]
    tied[2] = replace(tied[2], reports=tuple(replace(one, val_log_loss=0.5) for one in tied[2].reports))
    assert [one.number for one in finalists(tied, FinalistSettings(count=1))] == [0, 2]


def test_finals_proceed_in_rounds_with_the_baseline_first():
    records, order = list(SEARCHED), []
    while isinstance(job := next_job(records, HALF, NO_TRIALS, TWO_TWICE), Repeat):
        order.append((job.number, job.repetition))
        records.append(repeat(len(records), job.number, 0.5, state=RUNNING))
    assert order == [(0, 1), (2, 1), (3, 1), (0, 2), (2, 2), (3, 2)]
    assert job == Wait()
    over = [replace(record, state=COMPLETE) if record.repeats is not None else record for record in records]
    assert next_job(over, HALF, NO_TRIALS, TWO_TWICE) == Finished()


@pytest.mark.parametrize(
    "unfinished", [trial(4, RUNNING, stage_count=2), trial(4, PAUSED, [0.1], stage_count=2), trial(4, WAITING)]
)
def test_the_search_ends_before_the_finals_start(unfinished: TrialRecord):
    job = next_job([*SEARCHED[:4], unfinished], HALF, NO_TRIALS, TWO_TWICE)
    assert job == Wait() or isinstance(job, Continue)
    assert next_job(SEARCHED[:4], HALF, BudgetState(trials_left=1, exhausted=False), TWO_TWICE) == NewTrial()


def test_the_finals_have_their_own_hours():
    assert next_job(SEARCHED, HALF, NO_TIME, TWO_TWICE) == Repeat(0, repetition=1)
    assert next_job(SEARCHED, HALF, NOTHING_LEFT, TWO_TWICE) == Finished()
    assert next_job([*SEARCHED, repeat(5, 0, 0.5, state=RUNNING)], HALF, NOTHING_LEFT, TWO_TWICE) == Wait()


def test_an_interrupted_repeat_resumes_first():
    for stop in (None, 1):
        cut_off = repeat(5, 2, 0.5, state=WAITING, reports=(), stop_after_stage=stop)
        assert next_job([*SEARCHED, cut_off], HALF, NOTHING_LEFT, TWO_TWICE) == Continue(5, stop_after_stage=1)


def test_due_seconds_follow_the_finalists():
    # 1.5 s an epoch, two epochs each.
    assert due_s(SEARCHED, TWO_TWICE) == 3 * 2 * 3.0
    assert due_s([*SEARCHED, repeat(5, 2, 0.5), repeat(6, 0, 0.5)], TWO_TWICE) == 4 * 3.0
    assert due_s(SEARCHED[:1], TWO_TWICE) == 3 * 2 * 3.0, "two finalists are not known yet"
    assert due_s(SEARCHED, NO_FINALS) == due_s([], TWO_TWICE) == 0.0


accuracies = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])
stages = st.lists(st.one_of(accuracies, accuracies, accuracies, st.just(math.nan)), min_size=1, max_size=2)
_baselines = st.lists(st.lists(accuracies, min_size=1, max_size=2), min_size=2, max_size=3)
_others = st.lists(st.lists(stages, min_size=2, max_size=3), max_size=12)
searches = st.builds(lambda first, rest: [first, *rest], _baselines, _others)
wishes = st.builds(FinalistSettings, count=st.integers(1, 3), seeds=st.integers(1, 3))


def _play(search: Search) -> list[Job]:
    jobs: list[Job] = []
    search.on_job = lambda _, job: jobs.append(job)
    search.play()
    return jobs


def _check_repeats(search: Search) -> None:
    """Checks the documented rule, not our code: exactly the requested seeds of the finalists, each fully trained."""
    trained = [(r.best_rank, -r.number) for r in searched(search.records) if r.state is COMPLETE]
    chosen = {0} | {-minus_number for _, minus_number in sorted(trained, reverse=True)[: search.finalists.count]}
    repeated = [record for record in search.records if record.repeats is not None]
    assert sorted(record.repeats for record in repeated) == sorted(list(chosen) * search.finalists.seeds)
    for record in repeated:
        assert record.state is COMPLETE
        assert record.stop_after_stage == record.stage_count - 1
        assert record.params == search.records[record.repeats].params
        assert not record.is_baseline


@given(searches, wishes, st.integers(1, 4), st.randoms(), st.booleans())
@settings(max_examples=120, deadline=None)
def test_finals_come_last_and_change_nothing_before(curves, wish, workers: int, chance: Random, stopping: bool):
    ladder = Ladder(2, stopping)
    without = Search(curves, ladder, workers, copy(chance))
    search = Search(curves, ladder, workers, chance, finalists=wish)
    jobs = _play(search)
    assert jobs[-1] == Finished()
    before = [job for job in _play(without) if not isinstance(job, Wait | Finished)]
    assert [job for job in jobs if not isinstance(job, Wait | Finished)][: len(before)] == before
    assert all(isinstance(job, Repeat | Wait | Finished) for job in jobs[jobs.index(Repeat(0, 1)) :])
    assert search.records[: len(without.records)] == without.records
    assert len(set(search.trained)) == len(search.trained), "a stage was trained twice"
    _check_repeats(search)


@given(searches, wishes, st.integers(1, 4), st.randoms())
@settings(max_examples=60, deadline=None)
def test_interrupted_finals_are_resumed(curves, wish, workers: int, chance: Random):
    search = Search(curves, HALF, workers, chance, finalists=wish, deaths_left=30)
    assert _play(search)[-1] == Finished()
    assert len(set(search.trained)) == len(search.trained)
    _check_repeats(search)


@given(searches, _others, wishes, st.integers(1, 3), st.randoms())
@settings(max_examples=60, deadline=None)
def test_an_extended_search_repeats_its_new_finalists(curves, more, wish, workers: int, chance: Random):
    search = Search(curves, HALF, workers, chance, finalists=wish)
    _play(search)
    repeated_before = [record for record in search.records if record.repeats is not None]
    # As a finished study leaves them.
    search.records = [
        replace(record, state=TrialState.PRUNED) if record.state is PAUSED else record for record in search.records
    ]
    search.curves = [*curves, *more]
    jobs = _play(search)
    assert jobs[-1] == Finished()
    assert sum(isinstance(job, NewTrial) for job in jobs) == len(more)
    assert len(searched(search.records)) == len(curves) + len(more)
    assert due_repeats(search.records, wish) == []
    assert [record for record in search.records if record in repeated_before] == repeated_before
    per_trial = [sum(other.repeats == record.number for other in search.records) for record in search.records]
    assert set(per_trial) <= {0, wish.seeds}, "no finalist is repeated more often than asked for"


def test_ladder_and_sampler_ignore_repeats():
    paused = [trial(number, PAUSED, [number / 10], stage_count=2) for number in range(1, 7)]
    records = [whole(0, 0.6), *paused, trial(7, COMPLETE, [0.7], [0.9], stage_count=2)]
    repeats = [repeat(8, 7, 0.95), repeat(9, 0, 0.95), repeat(10, 7, 0.0, state=FAIL, infeasible=True)]
    mixed = [*records, *repeats]
    assert [standing(mixed, stage) for stage in (0, 1)] == [standing(records, stage) for stage in (0, 1)]
    assert promotable(mixed, 0, HALF) == promotable(records, 0, HALF)
    assert ordinary_trials(mixed) == ordinary_trials(records)
    assert len(as_optuna_trials(SPACE, mixed)) == len(as_optuna_trials(SPACE, records)) == 8
    policy = SearchPolicy(SPACE, {"x": 0.0}, HALF, sampler="tpe", seed=3, finalists=TWO_TWICE)
    expected = Proposal(ask(SPACE, records, number=8, seed=3, sampler="tpe"))
    assert policy.propose(mixed) == policy.propose(records) == expected
    assert policy.next_job(SEARCHED, NO_TRIALS) == Repeat(0, 1)


def test_standing_ranks_by_the_mean_over_all_seeds():
    lucky, steady, baseline = whole(1, 0.9), whole(2, 0.8), whole(0, 0.6)
    repeats = [repeat(3, 0, 0.5), repeat(4, 1, 0.5), repeat(5, 2, 0.8), repeat(6, 0, 0.7), repeat(7, 1, 0.7),
               repeat(8, 2, 0.5)]  # fmt: skip
    first, second, third = final_standing([baseline, lucky, steady, *repeats])
    assert [one.trial.number for one in (first, second, third)] == [1, 2, 0]
    assert [one.number for one in first.repeats] == [4, 7]
    assert (first.mean_rank, first.selected_accuracy, first.repeated_accuracy) == ((0.7, -1.0), 0.9, 0.6)
    assert (second.mean_rank, second.repeated_accuracy) == ((0.7, -1.0), 0.65)
    assert third.ranks == ((0.5, -1.0), (0.7, -1.0))
    less_lucky = replace(lucky, reports=reports([[0.1], [0.8]]))
    assert [one.trial.number for one in final_standing([baseline, less_lucky, steady, *repeats])] == [2, 1, 0]


def test_equal_means_are_decided_by_log_loss():
    sharper = repeat(4, 2, 0.5)
    sharper = replace(sharper, reports=tuple(replace(one, val_log_loss=0.5) for one in sharper.reports))
    # Thirds: the same photos right in another order, whose parts are rounded otherwise.
    records = [whole(1, 1 / 3), whole(2, 2 / 3), repeat(3, 1, 5 / 6), sharper]
    assert [one.trial.number for one in final_standing([*records[:3], repeat(4, 2, 0.5)])] == [1, 2]
    assert [one.trial.number for one in final_standing(records)] == [2, 1]


def test_only_complete_rounds_count():
    records = [whole(0, 0.6), whole(1, 0.9)]
    assert final_standing(records) == ()
    assert [one.trial.number for one in final_standing([*records, repeat(2, 0, 0.5)])] == [0]
    assert final_standing([*records, repeat(2, 0, 0.5), repeat(3, 1, 0.5, state=RUNNING)]) == ()
    two = [*records, repeat(2, 0, 0.5), repeat(3, 1, 0.1), repeat(4, 0, 0.9), repeat(5, 1, 0.9, state=WAITING)]
    assert [(one.trial.number, one.repeated_accuracy) for one in final_standing(two)] == [(0, 0.5), (1, 0.1)]


def test_an_infeasible_repeat_counts_as_the_worst_value():
    records = [whole(0, 0.6), whole(1, 0.9), repeat(2, 0, 0.5), repeat(3, 1, 0.1, state=FAIL, infeasible=True)]
    baseline, other = final_standing(records)
    assert (baseline.trial.number, other.repeated_accuracy, other.mean_rank) == (0, 0.0, (0.45, -math.inf))


def test_repeats_lost_by_a_machine_do_not_count():
    records = [whole(0, 0.6), whole(1, 0.9), repeat(2, 0, 0.5), repeat(3, 1, 0.1, state=FAIL)]
    assert [one.trial.number for one in final_standing(records)] == [0]
    second = [repeat(4, 0, 0.7), repeat(5, 1, 0.8)]
    best, baseline = final_standing([*records, *second])
    assert (best.trial.number, best.ranks, best.repeated_accuracy) == (1, (None, (0.8, -1.0)), 0.8)
    assert (baseline.trial.number, baseline.repeated_accuracy) == (0, 0.6)
