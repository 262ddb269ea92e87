import time
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState

from search.experiment.domains import Choice, Integer, LogUniform, Uniform, Value
from search.experiment.space import Parameter, Space
from search.policy.optuna_view import as_optuna_trials, distributions
from search.policy.records import TrialRecord, TrialState
from search.policy.sampler import STARTUP_TRIALS, ask
from tests.helpers.search.policy_builders import trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

PAUSED, COMPLETE, RUNNING, WAITING, FAIL, PRUNED = (
    TrialState.PAUSED,
    TrialState.COMPLETE,
    TrialState.RUNNING,
    TrialState.WAITING,
    TrialState.FAIL,
    TrialState.PRUNED,
)
LINE = Space({"x": Parameter("x", Uniform(0.0, 100.0), ())})
SQUARE = Space({"x": Parameter("x", Uniform(-1.0, 1.0), ()), "y": Parameter("y", Uniform(-1.0, 1.0), ())})
BRANCHES = Space(
    {
        "backbone": Parameter(
            "backbone",
            Choice(("small", "large")),
            (),
            branches={
                "small": {"width": Parameter("width", Choice((0.5, 1.0)), ())},
                "large": {"depth": Parameter("depth", Integer(1, 9), ())},
            },
        ),
        "rate": Parameter("rate", LogUniform(1e-5, 1e-1), ()),
    }
)


def paused(number: int, params: dict[str, Value], accuracy: float, **changes: object) -> TrialRecord:
    return trial(number, PAUSED, [accuracy / 2, accuracy], params=params, is_baseline=False, **changes)


def paraboloid(params: dict[str, Value]) -> float:
    return 1.0 - (params["x"] - 0.6) ** 2 - (params["y"] + 0.4) ** 2


def searched(sampler: str, seed: int, trials: int) -> list[TrialRecord]:
    records: list[TrialRecord] = []
    for number in range(trials):
        params = ask(SQUARE, records, number=number, seed=seed, sampler=sampler)
        records.append(paused(number, params, paraboloid(params)))
    return records


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_inputs_give_the_same_proposal(sampler: str):
    records = searched("random", 0, 15)
    first = ask(SQUARE, records, number=15, seed=3, sampler=sampler)
    assert ask(SQUARE, records, number=15, seed=3, sampler=sampler) == first
    assert ask(SQUARE, records, number=16, seed=3, sampler=sampler) != first
    assert ask(SQUARE, records, number=15, seed=4, sampler=sampler) != first


def test_an_unknown_sampler_is_named():
    with pytest.raises(ValueError, match="unknown sampler 'grid'; expected tpe, random or sobol"):
        ask(LINE, [], number=0, seed=0, sampler="grid")


def test_tpe_learns_from_paused_trials():
    """Only paused trials, none complete: shown to TPE as RUNNING they would all be bad."""

    def late_mean(sampler: str) -> float:
        late = [paraboloid(record.params) for seed in range(4) for record in searched(sampler, seed, 45)[30:]]
        return float(np.mean(late))

    assert late_mean("random") < 0.2
    assert late_mean("tpe") > 0.5


def test_tpe_avoids_the_infeasible_region():
    rng = np.random.default_rng(0)
    records = []
    for number, x in enumerate(rng.uniform(0.0, 100.0, 40)):
        broken = x > 50.0
        known = {"params": {"x": float(x)}, "is_baseline": False}
        records.append(
            trial(number, FAIL, infeasible=True, cause="out of memory", **known)
            if broken
            else trial(number, PAUSED, [0.5 + 0.001 * float(rng.random())], **known)
        )
    proposed = [ask(LINE, records, number=100 + seed, seed=seed, sampler="tpe")["x"] for seed in range(20)]
    assert sum(x > 55.0 for x in proposed) <= 2
    without = [record for record in records if not record.infeasible]
    proposed = [ask(LINE, without, number=100 + seed, seed=seed, sampler="tpe")["x"] for seed in range(20)]
    assert sum(x > 55.0 for x in proposed) > 2, "the test would pass without the constraint"


def test_conditional_parameters_exist_only_under_their_option():
    rng = np.random.default_rng(0)
    records = [paused(n, BRANCHES.sample(rng), 0.5 + n / 100) for n in range(2 * STARTUP_TRIALS)]
    seen = {"small": 0, "large": 0}
    for seed in range(20):
        params = ask(BRANCHES, records, number=50, seed=seed, sampler="tpe")
        assert BRANCHES.problems(params) == ()
        seen[str(params["backbone"])] += 1
    assert min(seen.values()) > 0


def test_conditional_parameters_are_modelled_together():
    """Under one option the score depends on two parameters agreeing, which independent draws would miss."""
    pair = {name: Parameter(name, Uniform(0.0, 1.0), ()) for name in ("u", "v")}
    single = {"w": Parameter("w", Uniform(0.0, 1.0), ())}
    branches = {"pair": pair, "single": single}
    space = Space({"kind": Parameter("kind", Choice(("pair", "single")), (), branches=branches)})
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(150)]
    records = [paused(n, params, _agreement(params)) for n, params in enumerate(drawn)]
    proposed = [ask(space, records, number=200, seed=seed, sampler="tpe") for seed in range(20)]
    agreements = [_agreement(params) for params in proposed if params["kind"] == "pair"]
    assert len(agreements) > 5
    assert float(np.mean(agreements)) > 0.85


def _agreement(params: dict[str, Value]) -> float:
    return 1.0 - abs(params["u"] - params["v"]) if params["kind"] == "pair" else 0.5


def test_distributions_follow_the_space():
    params: dict[str, Value] = {"backbone": "large", "depth": 3, "rate": 1e-3}
    assert distributions(BRANCHES, params) == {
        "backbone": CategoricalDistribution(("small", "large")),
        "depth": IntDistribution(1, 9),
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
    }
    assert distributions(BRANCHES, {**params, "rate": 1.0}).keys() == {"backbone", "depth"}
    with pytest.raises(ValueError, match="no value for parameter depth; the configuration has backbone, rate"):
        distributions(BRANCHES, {"backbone": "large", "rate": 1e-3})


def test_tried_configurations_are_proposed_last():
    space = Space({"a": Parameter("a", Choice((1, 2, 3)), ()), "b": Parameter("b", Choice(("x", "y")), ())})
    for sampler in ("tpe", "random"):
        records: list[TrialRecord] = []
        for number in range(6):
            params = ask(space, records, number=number, seed=0, sampler=sampler)
            records.append(paused(number, params, 0.5))
        assert len({tuple(record.params.values()) for record in records}) == 6
        assert ask(space, records, number=6, seed=0, sampler=sampler) in [record.params for record in records]


def shown(records: list[TrialRecord]) -> list[optuna.trial.FrozenTrial]:
    return as_optuna_trials(LINE, [replace(record, params={"x": float(record.number)}) for record in records])


def tpe_order(records: list[TrialRecord]) -> list[int]:
    """Numbers from TPE's best to its worst, found from how TPE splits: the n best are below."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(shown(records))
    order: list[int] = []
    for count in range(1, len(records) + 1):
        below, _ = optuna.samplers._tpe.sampler._split_trials(study, study.trials, count)
        order += [int(t.params["x"]) for t in below if int(t.params["x"]) not in order]
    return order


def test_states_shown_to_tpe():
    records = [
        trial(1, COMPLETE, [0.5], [0.5], [0.75]),
        trial(2, PAUSED, [0.5]),
        trial(3, RUNNING, [0.5]),
        trial(4, RUNNING),
        trial(5, FAIL, [0.5], infeasible=True),
        trial(6, FAIL, [0.5]),
        trial(7, WAITING),
        trial(8, PRUNED, [0.5]),
    ]
    states = {int(t.params["x"]): t.state for t in shown(records)}
    assert {int(t.params["x"]): t.constraints for t in shown(records) if t.constraints} == {5: {"infeasible": 1.0}}
    pruned, running = OptunaState.PRUNED, OptunaState.RUNNING
    assert states == {
        1: OptunaState.COMPLETE, 2: pruned, 3: pruned, 4: running, 5: pruned, 7: running, 8: pruned,
    }  # fmt: skip


def test_tpe_ranks_by_rung_then_by_the_best_of_the_stage_then_by_log_loss():
    low_loss = trial(4, PAUSED, [0.5, 0.4])
    low_loss = replace(low_loss, reports=tuple(replace(report, val_log_loss=0.1) for report in low_loss.reports))
    records = [
        trial(1, PAUSED, [0.9, 0.9, 0.9, 0.9]),
        trial(2, PAUSED, [0.6], [0.2]),  # fewer epochs than trial 1, ended early, but a rung further
        trial(3, PAUSED, [0.5, 0.3]),
        low_loss,
        trial(5, COMPLETE, [0.4], [0.4], [0.1]),
        trial(6, FAIL, infeasible=True),
        trial(7, PAUSED, [float("nan")]),
    ]
    assert tpe_order(records) == [5, 2, 1, 4, 3, 7, 6]


def test_the_baseline_is_shown_at_the_rung_it_has_earned():
    others = [trial(1, COMPLETE, [0.7], [0.8], [0.9]), trial(2, PAUSED, [0.65], [0.7]), trial(3, PAUSED, [0.6])]
    assert tpe_order([trial(0, COMPLETE, [0.1], [0.2], [0.3]), *others]) == [1, 2, 3, 0]
    assert tpe_order([trial(0, COMPLETE, [0.62], [0.75], [0.8]), *others]) == [1, 0, 2, 3]
    assert tpe_order([trial(0, COMPLETE, [0.1], [0.75], [0.95]), *others]) == [0, 1, 2, 3]


def test_a_short_trial_that_ended_counts_as_complete_only_if_it_beats_a_long_one():
    long = [trial(1, COMPLETE, [0.5], [0.7], [0.8]), trial(2, PAUSED, [0.6])]
    assert tpe_order([*long, trial(3, COMPLETE, [0.55], stage_count=1)]) == [1, 2, 3]
    assert tpe_order([*long, trial(3, COMPLETE, [0.85], stage_count=1)]) == [3, 1, 2]


def test_a_trial_outside_the_space_is_left_out():
    assert as_optuna_trials(LINE, [trial(0, PAUSED, [0.5], params={"x": 101.0})]) == []


def test_asking_stays_cheap_with_a_thousand_trials():
    rng = np.random.default_rng(0)
    records = []
    for number in range(1000):
        params = BRANCHES.sample(rng)
        records.append(trial(number, COMPLETE if number % 3 else PAUSED, [0.1, 0.2], [0.3, 0.4], [0.5], params=params))
    started = time.process_time()
    ask(BRANCHES, records, number=1000, seed=0, sampler="tpe")
    assert time.process_time() - started < 5.0
