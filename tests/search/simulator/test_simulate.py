"""Whole searches on a virtual clock: small ones worked out by hand, and invariants of random ones."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.formulas import CROSSING, NOISY
from search.errors import CurvesError, StudyError
from search.experiment.search_settings import FinalistSettings
from search.policy.finals import final_standing
from search.policy.policy import Policy, Proposal, SearchPolicy
from search.policy.records import TrialRecord, TrialState
from search.policy.rungs import Ladder
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Repeat, Wait
from search.simulator.curves import Curve
from search.simulator.faults import Faults
from search.simulator.simulate import simulate
from search.simulator.simulation import RecordedEpoch, Simulation, Winner
from tests.helpers.search.blackbox_builders import LINE, InOrder, Log, curve


def policy(*, eta: int = 2, prunes: bool = True, sampler: str = "random") -> Policy:
    return SearchPolicy(LINE, LINE.default(), Ladder(eta, prunes=prunes), sampler, seed=0)


def play(*curves: Curve, workers: int = 1, eta: int = 2, prunes: bool = True, **more: object) -> Simulation:
    rules = policy(eta=eta, prunes=prunes)
    return simulate(rules, InOrder(curves), workers=workers, max_trials=99, seed=0, **more)


FOUR = (
    curve([0.5], [0.6], [0.7], seconds=2.0),
    curve([0.4], [0.9], [0.9]),
    curve([0.6], [0.8], [0.75]),
    curve([0.3], [0.3], [0.3]),
)


def test_one_worker_by_hand() -> None:
    found = play(*FOUR)

    assert [(one.time_s, one.number, one.stop_after_stage) for one in found.decisions] == [
        (0, 0, 0),
        (2, 0, 1),  # the baseline goes to its end
        (4, 0, 2),
        (6, 1, 0),
        (7, 2, 0),
        (8, 2, 1),  # the best of three, and of two places one is the baseline's
        (9, 2, 2),
        (10, 3, 0),
        (11, 1, 2),  # the best of those left paused, to its end
    ]
    assert found.decisions[0].job == NewTrial()
    assert found.decisions[-1].job == Continue(1, 2, run_to_end=True)
    assert [record.state for record in found.records] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,
    ]
    assert [(one.time_s, one.cost_s, one.number, one.epoch) for one in found.history] == [
        (2, 2, 0, 1),
        (4, 4, 0, 2),
        (6, 6, 0, 3),
        (7, 7, 1, 1),
        (8, 8, 2, 1),
        (9, 9, 2, 2),
        (10, 10, 2, 3),
        (11, 11, 3, 1),
        (12, 12, 1, 2),
        (13, 13, 1, 3),
    ]
    assert (found.cost_s, found.lost_s, found.finished) == (13, 0, 3)


def test_the_winner_is_chosen_at_full_fidelity_once_there_is_one() -> None:
    found = play(*FOUR)

    assert found.winner_at(1.9) is None
    assert found.winner_at(2) == Winner(0, 1, 0.5, 0.375, at_full_fidelity=False)
    assert found.winner_at(8.5) == Winner(0, 3, 0.7, 0.575, at_full_fidelity=True)
    assert found.winner_at(9.5) == Winner(0, 3, 0.7, 0.575, at_full_fidelity=True), "2 has .8, but has not ended"
    assert found.winner_at(10) == Winner(2, 2, 0.8, 0.675, at_full_fidelity=True), "its best epoch is not its last"
    assert found.winner_at(13) == found.winner == Winner(1, 2, 0.9, 0.775, at_full_fidelity=True)
    assert found.last_improvement == RecordedEpoch(13, 13, 1, 3)


def test_without_reports_there_is_no_winner() -> None:
    found = play(curve(stage_count=2, infeasible=True))

    assert (found.winner, found.winner_at(1e9), found.last_improvement, found.cost_s) == (None, None, None, 0)
    assert found.records[0].infeasible


def test_the_lower_number_wins_among_equals() -> None:
    found = play(curve([0.5]), curve([0.5]), curve([0.5]), workers=3)

    assert found.winner is not None
    assert found.winner.number == 0
    assert found.last_improvement == RecordedEpoch(1, 1, 0, 1)


def test_two_workers_share_the_wall_clock_and_not_the_cost() -> None:
    found = play(*FOUR, workers=2, prunes=False)

    assert [(one.time_s, one.number) for one in found.decisions] == [(0, 0), (0, 1), (3, 2), (6, 3)]
    assert found.history[-1] == RecordedEpoch(9, 15, 3, 3)


def test_at_equal_times_the_segment_started_first_comes_first() -> None:
    found = play(*[curve([0.5, 0.5])] * 3, workers=3)

    assert [(one.number, one.epoch) for one in found.history] == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]


def test_a_used_up_budget_ends_new_trials_but_not_running_ones() -> None:
    found = play(*FOUR, prunes=False, budget_s=7.0)

    assert len(found.records) == 2, "trial 1 was at its first epoch when the hours were used up"
    assert found.cost_s == 9
    assert play(*FOUR, prunes=False, budget_s=6.0).cost_s == 6, "used up by the baseline, to the second"


def test_only_the_interrupted_epoch_is_trained_again() -> None:
    # An attempt lasts 3600 / 1000 s on average, an epoch one second.
    whole = curve(*[[0.5] * 5] * 4)
    log = Log()
    found = play(whole, workers=1, faults=Faults(deaths_per_hour=1000.0), callback=log)

    record = found.records[0]
    assert record.state is TrialState.COMPLETE
    assert [one.epoch for one in found.history] == list(range(1, 21))
    assert len(record.deaths) >= 3, "this seed gives some"
    assert 0 < found.lost_s < len(record.deaths)
    assert found.history[-1].time_s == pytest.approx(20 + found.lost_s)
    assert found.cost_s == 20, "lost epochs are never recorded"
    states = [told.state for kind, told in log.heard if kind == "ended"]
    assert states.count(TrialState.WAITING) == len(record.deaths)
    assert record.attempts == len(states)


def test_a_trial_that_never_finishes_an_epoch_fails() -> None:
    found = play(curve([0.5], seconds=1000.0), curve([0.4]), faults=Faults(deaths_per_hour=3600.0))

    assert found.records[0].state is TrialState.FAIL
    assert (found.records[0].attempts, found.records[0].infeasible) == (4, False)


def test_a_preempted_worker_is_gone_for_a_while() -> None:
    found = play(curve([0.5] * 8), faults=Faults(preemptions_per_hour=1000.0, preempted_s=100.0))

    away = len(found.records[0].deaths)
    assert away >= 1, "this seed gives some"
    assert found.history[-1].time_s == pytest.approx(8 + found.lost_s + 100 * away)


def test_out_of_memory_happens_in_the_first_epoch_of_a_stage() -> None:
    faults = Faults(out_of_memory=lambda params, stage: stage == 1 and params == LINE.default())
    found = play(*FOUR, faults=faults)

    assert found.records[0].infeasible
    assert found.records[0].state is TrialState.FAIL
    assert found.records[0].fidelity == 1
    assert found.lost_s == 2, "one epoch of the baseline"
    assert not any(record.infeasible for record in found.records[1:])


def test_an_infeasible_curve_stays_infeasible() -> None:
    found = play(curve([0.5], [0.6]), curve([0.9], [0.9, 0.9], stage_count=3, infeasible=True))

    assert (found.records[1].infeasible, found.records[1].fidelity) == (True, 3)
    assert found.lost_s == 1, "as long as its last epoch"


def test_an_incomplete_curve_is_an_error() -> None:
    with pytest.raises(CurvesError, match="trial 0: its curve ends at epoch 1"):
        play(curve([0.5], stage_count=2))


def test_finals_do_not_change_the_winner_of_the_search() -> None:
    finals = FinalistSettings(count=1, seeds=1)
    again = [curve([0.9], [0.9], [0.9]), curve([0.1], [0.1], [0.1])]
    rules = SearchPolicy(LINE, LINE.default(), Ladder(2), "random", seed=0, finalists=finals)
    found = simulate(rules, InOrder([*FOUR, *again]), workers=1, max_trials=4, seed=0, finalists=finals)

    assert [(one.job, one.number, one.stop_after_stage) for one in found.decisions[-2:]] == [
        (Repeat(0, 1), 4, 2),
        (Repeat(1, 1), 5, 2),
    ]
    assert [record.repeats for record in found.records] == [None, None, None, None, 0, 1]
    assert found.winner == Winner(1, 2, 0.9, 0.775, at_full_fidelity=True), "a repeat is no candidate"
    assert [one.trial.number for one in final_standing(found.records)] == [0, 1], "the finals choose another trial"
    assert found.cost_s == 19


def test_the_search_reserves_seconds_for_its_finals() -> None:
    finals = FinalistSettings(count=1, seeds=1)
    rules = SearchPolicy(LINE, LINE.default(), Ladder(2), "random", seed=0, finalists=finals)
    curves = [curve([0.5], [0.6], [0.7], seconds=2.0)] * 20
    found = simulate(rules, InOrder(curves), workers=1, max_trials=9, seed=0, budget_s=30.0, finalists=finals)
    alone = play(*curves, budget_s=30.0)

    # At 18 s, 12 more are due: the baseline's repeat, and that of a finalist who may still be found.
    assert [(one.time_s, one.job) for one in found.decisions[-2:]] == [
        (18, Continue(1, 2, run_to_end=True)),
        (20, Repeat(0, 1)),
    ]
    assert alone.cost_s >= 30


class Bad:
    """A policy that returns a given list of jobs."""

    def __init__(self, *jobs: Job) -> None:
        self._jobs = iter(jobs)

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        return next(self._jobs)

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        return Proposal(LINE.default())

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        return 0


@pytest.mark.parametrize(
    ("jobs", "workers", "message"),
    [
        ([Wait()], 1, "waits while no trial is running"),
        ([NewTrial(), Finished()], 2, r"trials \[0\] are running"),
        ([NewTrial(), Continue(0, 0)], 2, "trial 0 is RUNNING, expected WAITING or PAUSED"),
        ([], 0, "workers: expected 1 or more, found 0"),
    ],
)
def test_a_wrong_policy_raises(jobs: Sequence[Job], workers: int, message: str) -> None:
    with pytest.raises((ValueError, StudyError), match=message):
        simulate(Bad(*jobs), InOrder(FOUR), workers=workers, max_trials=3, seed=0)


def test_stops_end_trials_within_a_stage() -> None:
    asked: list[tuple[int, int]] = []
    log = Log()

    def stops(records: Sequence[TrialRecord], number: int) -> bool:
        asked.append((number, records[number].fidelity))
        return asked[-1] in [(1, 2), (2, 3)]

    curves = [curve([0.5] * 3), curve([0.6] * 3), curve([0.7] * 3)]
    found = play(*curves, prunes=False, stops=stops, callback=log)

    states = [record.state for record in found.records]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE], "no effect at the last epoch"
    assert asked == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    told = [(kind, record.state) for kind, record in log.heard if record.number == 1]
    running, pruned = TrialState.RUNNING, TrialState.PRUNED
    assert told == [("started", running), ("reported", running), ("stopped", running), ("ended", pruned)]


def test_a_trial_stopped_at_a_rung_is_not_left_paused() -> None:
    found = play(*FOUR, stops=lambda records, number: number == 1)

    assert found.records[1].state is TrialState.PRUNED
    assert found.records[1].fidelity == 1
    assert found.decisions[-1].job == Continue(3, 2, run_to_end=True), "another trial is the best one left paused"


@st.composite
def _worlds(draw: st.DrawFn) -> list[Curve]:
    values = st.sampled_from([0.2, 0.4, 0.6, 0.8, float("nan")])
    stage_count = draw(st.integers(1, 3))
    curves = []
    for _ in range(draw(st.integers(1, 10))):
        stages = [draw(st.lists(values, min_size=1, max_size=3)) for _ in range(stage_count)]
        infeasible = draw(st.sampled_from([False, False, True]))
        if infeasible:
            stages = stages[:-1]
        seconds = draw(st.sampled_from([0.5, 1.0, 3.0]))
        curves.append(curve(*stages, seconds=seconds, stage_count=stage_count, infeasible=infeasible))
    return curves


@given(
    curves=_worlds(),
    workers=st.integers(1, 4),
    eta=st.integers(2, 4),
    prunes=st.booleans(),
    deaths=st.sampled_from([0.0, 300.0]),
    preemptions=st.sampled_from([0.0, 300.0]),
    budget_s=st.sampled_from([0.0, 5.0, 1e9]),
)
@settings(deadline=None, max_examples=60)
def test_invariants_of_every_search(*, curves, workers, eta, prunes, deaths, preemptions, budget_s) -> None:
    faults = Faults(deaths_per_hour=deaths, preemptions_per_hour=preemptions, preempted_s=2.0)

    def once(log: Log) -> Simulation:
        return play(*curves, workers=workers, eta=eta, prunes=prunes, faults=faults, budget_s=budget_s, callback=log)

    log = Log()
    found = once(log)

    assert once(Log()) == found, "equal arguments give equal searches"
    for record in found.records:
        told = [one.epoch for one in found.history if one.number == record.number]
        assert told == [report.epoch for report in record.reports] == list(range(1, record.fidelity + 1))
        assert record.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    spent = 0.0
    for one in found.history:
        spent += curves[one.number].points[one.epoch - 1].seconds
        assert one.cost_s == spent
    assert [one.time_s for one in found.history] == sorted(one.time_s for one in found.history)
    last_s = max(one.time_s for one in (*found.history, *found.decisions))
    assert found.cost_s + found.lost_s <= workers * (last_s + 3), "the last segment to start is hit within 3 s"
    busy = 0
    for kind, _ in log.heard:
        busy += {"started": 1, "ended": -1}.get(kind, 0)
        assert 0 <= busy <= workers
    if workers == 1 and not deaths and not preemptions and not found.lost_s:
        assert all(one.time_s == one.cost_s for one in found.history)
    if not deaths and not preemptions:
        assert not any(record.deaths for record in found.records)
    feasible = not curves[0].infeasible and any(point.val_accuracy == point.val_accuracy for point in curves[0].points)
    if feasible and not deaths and not preemptions:
        assert found.records[0].state is TrialState.COMPLETE, "the baseline finishes on any budget"


@pytest.mark.parametrize("blackbox", [CROSSING, NOISY], ids=["crossing", "noisy"])
def test_a_search_over_a_formula_depends_only_on_its_seeds(blackbox) -> None:
    def once(seed: int) -> Simulation:
        rules = SearchPolicy(blackbox.space, blackbox.baseline, Ladder(3), "random", seed=1)
        return simulate(rules, blackbox, workers=4, max_trials=20, seed=seed)

    first = once(0)
    assert once(0) == first
    assert once(1).history != first.history or once(1).records != first.records
    assert len(first.records) == 20
