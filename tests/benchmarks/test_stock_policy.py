from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from ray.tune.search import Searcher

from benchmarks.formulas import FORMULAS
from benchmarks.peers.snapped_sampler import SnappedSampler, all_distributions
from benchmarks.peers.stock_policy import (
    StockPolicy,
    StockSettings,
    make_scheduler,
    make_searcher,
    numpy_seeded,
    simulate_stock,
)
from search.experiment.domains import Choice, Uniform
from search.experiment.space import Parameter, Space
from search.policy.policy import Proposal
from search.policy.records import TrialState
from search.policy.scheduler import BudgetState, Finished, NewTrial
from search.simulator.blackboxes import RecordedCurves
from search.simulator.curves import Curve, CurvePoint
from search.simulator.simulate import simulate

NOISY = FORMULAS["noisy"]
LINE = Space({"x": Parameter("x", Uniform(0.0, 100.0), ())})
FREE = BudgetState(trials_left=1, exhausted=False)


def curve(x: float, accuracies: Sequence[float], *, epochs: int | None = None, **changes: object) -> Curve:
    points = [
        CurvePoint(at // 2, at % 2 == 1, accuracy, 1.0, accuracy, 1.0, 1.0) for at, accuracy in enumerate(accuracies)
    ]
    made = Curve(params={"x": x}, seed=0, stage_count=len(points) // 2, points=tuple(points[:epochs]))
    return replace(made, **changes)


class InTurn(Searcher):
    """Suggests 0, 1, 2, ... and notes what it is told."""

    def __init__(self) -> None:
        super().__init__(metric="val_accuracy", mode="max")
        self.told: list[tuple[object, ...]] = []

    def suggest(self, trial_id):
        self.told.append(("suggest", trial_id))
        return {"x": float(trial_id)}

    def on_trial_result(self, trial_id, result):
        self.told.append(("result", trial_id, result["training_iteration"], result["val_accuracy"]))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.told.append(("complete", trial_id, result and result["val_accuracy"], error))

    def save(self, checkpoint_path):
        raise NotImplementedError

    def restore(self, checkpoint_path):
        raise NotImplementedError


def played(curves: Sequence[Curve], *, workers: int = 1, **settings: object):
    """Each trial is the curve of its number."""
    searcher = InTurn()
    stock = StockPolicy(make_scheduler(StockSettings(**settings), epochs=4), searcher)
    with numpy_seeded(0):
        simulation = simulate(
            stock,
            RecordedCurves(LINE, curves),
            workers=workers,
            max_trials=len(curves),
            seed=0,
            stops=stock.stops,
            callback=stock,
        )
    return simulation, searcher.told


def test_steadily_improving_arrivals_are_never_stopped():
    simulation, _ = played([curve(x, [0.1 + x / 100] * 4) for x in range(40)])
    assert [record.state for record in simulation.records] == [TrialState.COMPLETE] * 40


def test_ties_pass():
    simulation, _ = played([curve(x, [0.5] * 4) for x in range(30)])
    assert simulation.finished == 30


def test_a_clearly_worse_later_arrival_is_stopped_at_the_grace_period():
    for grace in (1, 2, 3):
        simulation, _ = played([curve(0, [0.9] * 4), curve(1, [0.2] * 4)], grace_epochs=grace)
        assert [record.fidelity for record in simulation.records] == [4, grace]
        assert simulation.records[1].state is TrialState.PRUNED


def test_the_reduction_factor_says_which_share_is_kept():
    """Against the 25 % and the 50 % best of 0.1, ..., 0.9, which are all there when the last one comes."""
    early = [curve(x, [0.1 * (x + 1)] * 4) for x in range(9)]
    newcomer = curve(9, [0.6] * 4)
    assert played([*early, newcomer], reduction_factor=4)[0].records[9].fidelity == 1
    assert played([*early, newcomer], reduction_factor=2)[0].records[9].fidelity == 4


def test_without_stopping_everybody_comes_to_the_end():
    simulation, _ = played([curve(0, [0.9] * 4), curve(1, [0.2] * 4)], stopping=False)
    assert simulation.finished == 2


def test_the_searcher_is_told_in_tunes_order():
    """A result on which a trial ends never reaches on_trial_result: neither the last one nor one that stops it."""
    _, told = played([curve(0, [0.6, 0.7, 0.8, 0.9]), curve(1, [0.2] * 4)])
    assert told == [
        ("suggest", "0"),
        ("result", "0", 1, 0.6),
        ("result", "0", 2, 0.7),
        ("result", "0", 3, 0.8),
        ("complete", "0", 0.9, False),
        ("suggest", "1"),
        ("complete", "1", 0.2, False),
    ]


def test_a_training_shorter_than_the_longest_completes_with_its_last_result():
    _, told = played([curve(0, [0.6, 0.7])])
    assert told[1:] == [("result", "0", 1, 0.6), ("result", "0", 2, 0.7), ("complete", "0", 0.7, False)]


def test_a_training_that_diverges_is_an_error():
    simulation, told = played([curve(0, [0.6, 0.7, 0.8, 0.9], epochs=1, infeasible=True)])
    assert told[1:] == [("result", "0", 1, 0.6), ("complete", "0", None, True)]
    assert simulation.records[0].infeasible


def test_workers_are_filled_one_trial_at_a_time():
    _, told = played([curve(x, [0.5] * 4) for x in range(3)], workers=2)
    assert told[:2] == [("suggest", "0"), ("suggest", "1")]
    assert told.index(("suggest", "2")) == told.index(("complete", "0", 0.5, False)) + 1


def test_new_trials_end_with_budget_or_trials():
    stock = StockPolicy(make_scheduler(StockSettings(), 4), InTurn())
    assert stock.next_job((), FREE) == NewTrial()
    assert stock.next_job((), BudgetState(trials_left=1, exhausted=True)) == Finished()
    assert stock.next_job((), BudgetState(trials_left=0, exhausted=False)) == Finished()


def recorded(count: int = 30) -> RecordedCurves:
    rng = np.random.default_rng(3)
    rows = [NOISY.train(Proposal(NOISY.space.sample(rng)), taken=set(), seed=at).curve for at in range(count)]
    return RecordedCurves(NOISY.space, [replace(rows[0], is_baseline=True), *rows[1:]])


def stock_run(blackbox, *, seed: int = 0, **settings: object):
    return simulate_stock(
        StockSettings(**settings), blackbox, epochs=11, workers=2, max_trials=25, seed=seed, budget_s=1e9
    )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_trial_is_a_row_and_no_row_comes_twice(sampler):
    blackbox = recorded()
    simulation = stock_run(blackbox, sampler=sampler)
    rows = [dict(row[0].params) for row in blackbox.rows]
    assert len(simulation.records) == 25
    taken = [rows.index(dict(record.params)) for record in simulation.records]
    assert len(set(taken)) == 25


def test_the_study_holds_the_rows_values_and_what_was_reported():
    blackbox = recorded()
    searcher = make_searcher(StockSettings(), blackbox, seed=0)
    stock = StockPolicy(make_scheduler(StockSettings(), 11), searcher)
    with numpy_seeded(0):
        simulation = simulate(stock, blackbox, workers=1, max_trials=25, seed=0, stops=stock.stops, callback=stock)
    study = searcher._ot_study
    assert len(study.trials) == 25
    for record, trial in zip(simulation.records, study.trials, strict=True):
        assert trial.params == dict(record.params)
        assert trial.state is optuna.trial.TrialState.COMPLETE  # the stopped ones too: that is how Ray tells it
        assert trial.value == record.reports[-1].val_accuracy
        assert trial.intermediate_values == {r.epoch: r.val_accuracy for r in record.reports[:-1]}
    assert {record.state for record in simulation.records} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_seeds_decide_and_nothing_else_does():
    blackbox = recorded()
    np.random.seed(7)
    first = stock_run(blackbox, seed=1)
    np.random.seed(8)
    before = np.random.get_state()[1].tolist()
    assert stock_run(blackbox, seed=1) == first
    assert np.random.get_state()[1].tolist() == before
    assert stock_run(blackbox, seed=2).records != first.records


def test_tpe_without_rows_proposes_what_optuna_alone_would():
    """The wrapper changes no draw of the sampler that it asks."""

    def values(sampler):
        study = optuna.create_study(sampler=sampler, direction="maximize")
        asked = []
        for _ in range(20):
            trial = study.ask()
            params = NOISY.space.suggest(trial)
            study.tell(trial, -((params["train.dropout"] - 0.3) ** 2))
            asked.append(params)
        return asked

    assert values(SnappedSampler(TPESampler(seed=5), NOISY, seed=0)) == values(TPESampler(seed=5))


def test_the_default_recipe_may_come_first():
    blackbox = recorded()
    simulation = stock_run(blackbox, baseline_first=True)
    assert simulation.records[0].params == blackbox.baseline
    assert blackbox.baseline not in [record.params for record in simulation.records[1:]]


def test_parameters_under_a_choice_are_asked_for_where_they_exist():
    branches = {"deep": {"units": Parameter("units", Choice((1, 2)), (), under=(("kind", "deep"),))}, "flat": {}}
    space = Space({"kind": Parameter("kind", Choice(("deep", "flat")), (), branches=branches)})
    rows = [
        Curve({"kind": "deep", "units": 1}, 0, 1, ()),
        Curve({"kind": "deep", "units": 2}, 0, 1, ()),
        Curve({"kind": "flat"}, 0, 1, ()),
    ]
    assert set(all_distributions(space)) == {"kind", "units"}
    sampler = SnappedSampler(RandomSampler(seed=0), RecordedCurves(space, rows), seed=0)
    study = optuna.create_study(sampler=sampler)
    asked = [space.suggest(study.ask()) for _ in rows]
    assert sorted(asked, key=str) == sorted((dict(row.params) for row in rows), key=str)


def test_another_space_than_the_blackboxes_is_refused():
    sampler = SnappedSampler(RandomSampler(seed=0), recorded(), seed=0)
    with pytest.raises(ValueError, match="z is no parameter"):
        optuna.create_study(sampler=sampler).ask().suggest_float("z", 0.0, 1.0)
