from dataclasses import replace

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.experiment.domains import Uniform
from search.experiment.space import Parameter, Space
from search.policy.optuna_view import BEST_SEEN, OptunaView, as_optuna_trials, most_telling
from search.policy.records import TrialRecord, TrialState
from search.policy.sampler import ask
from tests.helpers.search.policy_builders import trial

LINE = Space({"x": Parameter("x", Uniform(0.0, 1.0), ())})
STATES = st.sampled_from([TrialState.RUNNING, TrialState.PAUSED, TrialState.COMPLETE, TrialState.FAIL])
ACCURACIES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3)


def searched(states: list[tuple[TrialState, list[float]]]) -> list[TrialRecord]:
    return [
        trial(number, state, *([value] for value in values), params={"x": number / 100}, is_baseline=number == 0)
        for number, (state, values) in enumerate(states)
    ]


def comparable(trials: list[FrozenTrial]) -> list[object]:
    return [(one.state, one.values, one.params, one.intermediate_values, one.system_attrs) for one in trials]


@given(st.lists(st.tuples(STATES, ACCURACIES), min_size=1, max_size=8), st.lists(st.integers(0, 7), max_size=8))
def test_a_view_that_remembers_shows_what_a_fresh_one_shows(states, changed):
    view, records = OptunaView(LINE), searched(states)
    for number in changed:
        assert comparable(view.trials(records)) == comparable(as_optuna_trials(LINE, records))
        if number < len(records):
            records[number] = replace(records[number], state=TrialState.FAIL, infeasible=number % 2 == 0)
    assert comparable(view.trials(records)) == comparable(as_optuna_trials(LINE, records))


def test_a_remembered_view_gives_the_same_proposals():
    records = searched([(TrialState.PAUSED, [0.1 * (number % 7)]) for number in range(20)])
    view = OptunaView(LINE)
    for number in (20, 21, 20):
        fresh = ask(LINE, records, number=number, seed=3, sampler="tpe")
        assert ask(LINE, records, number=number, seed=3, sampler="tpe", view=view) == fresh


def test_optuna_does_not_change_the_remembered_trials():
    records = searched([(TrialState.PAUSED, [0.1 * (number % 7)]) for number in range(20)])
    view = OptunaView(LINE)
    before = comparable(view.trials(records))
    study = optuna.create_study(direction="maximize")
    study.add_trials(view.trials(records))
    study.ask()
    assert comparable(view.trials(records)) == before
    assert [one._number for one in view.trials(records)] == [-1] * 20


def shown(value: float, *, running: bool = False, step: int = 1) -> FrozenTrial:
    if running:
        return create_trial(state=OptunaState.RUNNING)
    return create_trial(state=OptunaState.PRUNED, intermediate_values={step: value})


def test_few_trials_are_all_shown():
    trials = [shown(0.1 * number) for number in range(5)]
    assert most_telling(trials, 5) == trials


def test_of_many_trials_running_best_and_latest_are_shown_in_order():
    trials = [shown(0.0) for _ in range(1000)]
    trials[3] = shown(0.9)
    trials[5] = shown(0.0, running=True)
    trials[7] = shown(0.1, step=2)  # further up the ladder counts more than its value
    trials[9] = create_trial(state=OptunaState.COMPLETE, value=0.05)
    kept = most_telling(trials, 200)
    numbers = [next(at for at, one in enumerate(trials) if one is each) for each in kept]
    assert len(numbers) == 200
    assert numbers == sorted(numbers)
    assert {3, 5, 7, 9, *range(901, 1000)} <= set(numbers)


@given(st.permutations(range(300)))
def test_the_best_trials_are_always_shown(order):
    trials = [shown(float(value)) for value in order]
    kept = most_telling(trials, 150)
    assert len(kept) == 150
    values = {one.intermediate_values[1] for one in kept}
    assert values >= {float(value) for value in range(300 - BEST_SEEN, 300)}


@given(st.lists(st.integers(0, 3), min_size=BEST_SEEN + 1, max_size=2 * BEST_SEEN))
def test_ties_go_to_the_earlier_trial_as_a_stable_sort_has_them(values):
    trials = [shown(float(value)) for value in values]
    best = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:BEST_SEEN]
    kept = most_telling(trials, BEST_SEEN)
    assert [id(one) for one in kept] == [id(trials[at]) for at in sorted(best)]


def test_running_trials_are_shown_beyond_the_limit():
    trials = [shown(0.0, running=True) for _ in range(400)] + [shown(0.5)]
    assert len(most_telling(trials, 100)) == 401


def test_not_a_number_is_the_worst_value():
    trials = [shown(float("nan")), *(shown(0.1) for _ in range(BEST_SEEN + 100))]
    assert trials[0] not in most_telling(trials, BEST_SEEN + 50)
