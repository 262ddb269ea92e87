import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import policy
from benchmarks.formulas import FORMULAS
from benchmarks.peers.stock_policy import StockSettings
from benchmarks.policy_candidates import CANDIDATES
from benchmarks.policy_cells import (
    BEST_GRACE,
    DEFAULT_GRACE,
    RANDOM,
    RANDOM_ASHA,
    TO_THE_END,
    cells,
    peers,
    shown_not_worse,
    worse,
)
from benchmarks.policy_runs import (
    CURVES,
    EXPERIMENT,
    RECORDED,
    STEP,
    ArenaKey,
    arena,
    arena_of,
    costs,
    half_of,
    holdout_accuracies,
)
from search.experiment.experiment import load
from search.policy.policy import Proposal, search_policy
from search.policy.sampler import sobol_point
from search.simulator.blackboxes import RecordedCurves
from search.simulator.curves import Curve, CurvePoint, write_curves
from search.simulator.simulate import simulate


def curve(x: int, *, seed: int = 0, epochs: int = 4, seconds: float = 1.0, **changes: object) -> Curve:
    points = tuple(
        CurvePoint(at // 2, at % 2 == 1, 0.1 * (at + 1), 1.0, 0.2 * (at + 1), 1.0, seconds) for at in range(epochs)
    )
    return replace(Curve({"x": x}, seed, 2, points), **changes)


def test_halves_share_the_default_recipe_alone():
    curves = [curve(x, is_baseline=x == 0) for x in range(21)] + [curve(x, seed=1, is_baseline=x == 0) for x in (0, 3)]
    chosen, held_out = half_of(curves, "chosen"), half_of(curves, "held_out")
    assert half_of(curves, "chosen") == chosen
    configurations = [{one.params["x"] for one in half} for half in (chosen, held_out)]
    assert configurations[0] & configurations[1] == {0}
    assert configurations[0] | configurations[1] == set(range(21))
    assert [len(half) for half in configurations] == [11, 11]
    for half in (chosen, held_out):
        assert [one.params["x"] for one in half].count(0) == 2
        assert [one.params["x"] for one in half].count(3) in (0, 2)  # repetitions are not torn apart
        assert list(half) == [one for one in curves if one in half]


def test_a_full_training_is_the_mean_of_whole_ones():
    formula = FORMULAS["noisy"]
    curves = [curve(0, seconds=1.0), curve(1, seconds=2.0), curve(2, epochs=1, seconds=100.0, infeasible=True)]
    made = arena_of("any", formula, curves)
    assert (made.epochs, made.full_training_s) == (4, 6.0)


def test_costs_go_up_to_the_budget():
    assert costs(1.0).tolist() == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]


def test_winners_by_both_rules():
    """The first trial ends at 0.4; the second, better at every epoch, is cut off by the cost before it ends."""
    formula = FORMULAS["noisy"]
    simulation = simulate(
        CANDIDATES["to-the-end"](formula.space, formula.baseline, 0), formula, workers=2, max_trials=2, seed=0
    )
    ends = [moment for moment in simulation.history if moment.epoch == 11]
    first, last = ends[0].cost_s, simulation.cost_s
    full, anyone = holdout_accuracies(simulation, np.array([0.0, first - 1e-6, first, last]))
    assert (full[0], anyone[0]) == (0.0, 0.0)
    reports = [
        simulation.records[m.number].reports[m.epoch - 1] for m in simulation.history if m.cost_s <= first - 1e-6
    ]
    assert anyone[1] == max(reports, key=lambda report: report.val_accuracy).holdout_accuracy
    assert full[2] == simulation.records[ends[0].number].best.holdout_accuracy
    assert full[3] == simulation.winner.holdout_accuracy


def test_peers_are_every_grace_period_and_three_others():
    listed = peers(4)
    assert [one.grace_epochs for one in listed if one.stopping and one.sampler == "tpe"] == [1, 2, 3]
    assert {(one.sampler, one.stopping) for one in listed} == {
        ("tpe", True), ("tpe", False), ("random", True), ("random", False),
    }  # fmt: skip
    assert all(one.baseline_first for one in peers(4, baseline_first=True))


def played(level_of, *, seeds=10, workers=(1,)):
    """Flat curves: a level for each (method, rule), and a spread over seeds that is the same for all."""
    spread = np.linspace(-0.01, 0.01, seeds)[:, None]
    flat = np.ones((1, costs(16).size))
    methods = ["ours", *peers(4)]
    return {
        (RECORDED, w, method): np.stack([(level_of(method, rule) + spread) * flat for rule in range(2)], axis=1)
        for w in workers
        for method in methods
    }


def places_of(level_of, **settings):
    return list(cells(played(level_of, **settings), ["ours"], costs=costs(16), budgets=[8, 16]))


def by_grace(method, rule):
    if method == "ours":
        return 0.80
    if method.sampler == "random" or not method.stopping:
        return 0.70
    return {(1, 0): 0.75, (2, 0): 0.78, (2, 1): 0.79, (3, 0): 0.76}.get((method.grace_epochs, rule), 0.72)


def test_the_best_grace_is_the_best_of_all_and_of_both_rules():
    place = places_of(by_grace)[0]
    assert list(place.curves) == ["ours", DEFAULT_GRACE, BEST_GRACE, TO_THE_END, RANDOM, RANDOM_ASHA]
    assert place.mean(DEFAULT_GRACE) == pytest.approx(0.75)
    assert place.mean(BEST_GRACE) == pytest.approx(0.79)
    assert place.best_grace == "2 any"
    assert place.best_peer == BEST_GRACE
    assert place.against_best_peer().difference == pytest.approx(0.01)
    assert place.reach().ours == STEP


def test_a_place_where_we_are_a_point_worse_is_found():
    def level(method, rule):
        return 0.60 if method == "ours" else 0.61

    places = places_of(level, workers=(1, 4))
    assert worse(places) == [True] * 4
    assert shown_not_worse(places) == [False] * 4
    found = policy.verdicts(places)
    assert [verdict.holds for verdict in found] == [False] * 5
    assert found[0].ratio == pytest.approx(8 / 16)  # at 8, never reached within 16
    assert (found[-1].ours, found[-1].peer) == (0, 4)


def test_a_place_where_we_are_a_quarter_of_a_point_worse_is_allowed():
    def level(method, rule):
        return 0.6075 if method == "ours" else 0.61

    places = places_of(level)
    assert worse(places) == [False] * 2
    assert shown_not_worse(places) == [True] * 2


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_begins_with_the_default_recipe_and_trains_it_to_its_end(name):
    formula = FORMULAS["noisy"]
    made = CANDIDATES[name](formula.space, formula.baseline, 3)
    first = made.propose(())
    assert (first.is_baseline, first.params) == (True, formula.baseline)
    simulation = simulate(made, formula, workers=2, max_trials=8, seed=3)
    assert simulation.records[0].fidelity == 11


def test_the_first_candidate_is_what_the_experiment_on_these_photos_uses():
    experiment = load(EXPERIMENT.with_name("cars10.yaml"))
    first = CANDIDATES[next(iter(CANDIDATES))](experiment.space, experiment.baseline, 0)
    asked = search_policy(experiment)
    assert (first.ladder, first.sampler) == (asked.ladder, asked.sampler)


def stand_in(path):
    """A table over the recorded experiment's space, by a formula."""
    space, formula = load(EXPERIMENT).space, FORMULAS["noisy"]
    backbones = space.domains["train.backbone"].values
    groups = dict(zip(backbones, ("large", "medium", "small", "small"), strict=True))
    curves = []
    for number in range(24):
        params = space.default() if number == 0 else sobol_point(space, number=number, seed=0)
        known = {name: value for name, value in params.items() if name in formula.space.domains}
        known |= {"train.backbone": groups[params["train.backbone"]], "train.dropout": params["train.head.dropout"]}
        made = formula.train(Proposal(known), taken=set(), seed=number).curve
        curves.append(replace(made, params=params, is_baseline=number == 0))
    write_curves(path, curves, name="stand-in")
    return RecordedCurves(space, curves)


def test_the_benchmark_prints_its_tables_and_its_line(tmp_path, monkeypatch, capsys):
    """In one process: a pool would import everything anew."""
    stand_in(tmp_path / "curves.jsonl.gz")
    monkeypatch.setattr(policy, "play_all", lambda tasks, processes: map(policy.policy_runs.play, tasks))
    settings = ["--curves", str(tmp_path / "curves.jsonl.gz"), "--arenas", RECORDED, "--seeds", "2", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", ["policy", *settings, "--budgets", "2", "4"])
    policy.main()
    printed = capsys.readouterr().out
    assert "recorded: 13 configurations, a full training of 11 epochs" in printed
    assert "W=2 B=2" in printed
    line = json.loads(printed.splitlines()[-1])
    assert (line["name"], line["half"], line["seeds"], line["policy"]) == (
        "policy",
        "held_out",
        2,
        next(iter(CANDIDATES)),
    )
    assert len(line["claims"]) == 3
    assert line["claims"][-1]["peer"] == 2


def test_a_missing_table_is_said_before_anything_is_played(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["policy", "--curves", str(tmp_path / "none.gz")])
    with pytest.raises(SystemExit):
        policy.main()
    assert "record it with `carsearch record`" in capsys.readouterr().err


def test_the_benchmark_tells_its_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["policy", "--help"])
    with pytest.raises(SystemExit) as end:
        policy.main()
    assert end.value.code == 0
    assert "usage: python -m benchmarks.policy [-h]" in capsys.readouterr().out


def test_methods_are_plain_values():
    """They cross to other processes, and name what was played."""
    assert StockSettings() == StockSettings(sampler="tpe", stopping=True, grace_epochs=1, reduction_factor=4.0)
    assert len({*peers(11)}) == 13


def test_an_arena_ranks_recorded_trainings_as_asked():
    by_accuracy = arena(ArenaKey(RECORDED, "held_out", CURVES, EXPERIMENT))
    by_log_loss = arena(ArenaKey(RECORDED, "held_out", CURVES, EXPERIMENT, "log_loss"))
    points = [[point for curve in one.blackbox.curves for point in curve.points] for one in (by_accuracy, by_log_loss)]
    assert {point.val_scaled_log_loss for point in points[0]} == {None}
    assert [point.val_scaled_log_loss for point in points[1]] == [point.val_log_loss for point in points[0]]
    assert by_log_loss.full_training_s == by_accuracy.full_training_s
