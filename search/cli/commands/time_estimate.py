"""The estimated time and cost of an experiment on this machine, for people."""

from collections.abc import Iterator

import numpy as np

from carcls.config import TrainConfig
from search.bench.estimate import Estimate, Photos, TrialCost, estimate_final, estimate_search, trial_cost
from search.bench.rates import Rates
from search.bench.reference import Machine
from search.bench.results import Bench
from search.experiment.experiment import Experiment
from search.on_ray.cluster.nodes import ResourcePlan
from search.policy.step_times import Wishes, final_rounds
from search.terminal.formatting import duration_text

_SAMPLES = 64
"""Configurations of a space that stand for all of them."""


def estimate_lines(
    experiment: Experiment, photos: Photos, planned: ResourcePlan, bench: Bench, *, price_per_hour: float | None
) -> list[str]:
    """The estimate, or why there is none. price_per_hour: of this machine, or None."""
    configs, rates = list(_sample(experiment)), rates_of(planned, bench)
    final = experiment.retrain_config(configs[0])
    costs: list[TrialCost] = []
    for config in [*configs, final]:
        cost = trial_cost(config, photos, final_rates(experiment.folds, planned, bench) if config is final else rates)
        if cost is None:
            return [
                f"time: nothing is known of {config.backbone} {config.alpha:g}: measure it with 'carsearch bench"
                f" --backbones {config.backbone}:{config.alpha:g}'"
            ]
        costs.append(cost)
    found = _estimate(experiment, costs[:-1], costs[-1], planned, places=_places(experiment.folds, planned, bench))
    low, high = found.total_s
    parts = f"final training {_range(*found.final_s)}"
    if not experiment.is_fixed:
        parts = f"search {_range(*found.search_s)}, {parts}"
    lines = [f"time: about {_range(low, high)} by what 'carsearch bench' measured here ({parts})"]
    if price_per_hour is not None:
        ends = (price_per_hour * low / 3600, price_per_hour * high / 3600)
        lines.append(f"cost: about {ends[0]:.2f} to {ends[1]:.2f} at {price_per_hour:g} an hour")
    return lines


def rates_of(planned: ResourcePlan, bench: Bench) -> Rates:
    """Rates of one trial with the planned resources."""
    if planned.gpus:
        return Rates(Machine(planned.cpus, gpu=True), at_once=max(1, round(1 / planned.gpus)), bench=bench)
    return Rates(Machine(planned.cpus, gpu=False), at_once=planned.concurrent, bench=bench)


def final_rates(trainings: int, planned: ResourcePlan, bench: Bench) -> Rates:
    """Rates of one of the final trainings, which divide the whole machine, see `search.driver.nodes.slots`."""
    places = _places(trainings, planned, bench)
    at_once = 1 if planned.gpus else places
    return Rates(Machine(max(1, bench.cores // places), gpu=planned.gpus > 0), at_once=at_once, bench=bench)


def _places(trainings: int, planned: ResourcePlan, bench: Bench) -> int:
    """Final trainings at once: one on each GPU, or as many as the cores have room for."""
    return max(1, min(trainings, bench.gpus if planned.gpus else planned.concurrent))


def _estimate(
    experiment: Experiment, trials: list[TrialCost], final: TrialCost, planned: ResourcePlan, *, places: int
) -> Estimate:
    settings = experiment.search
    wishes = Wishes(
        is_refitted=experiment.photos == "all",
        is_compared=experiment.data.extra is not None,
        is_pseudo=experiment.data.pseudo is not None,
    )
    final_s = estimate_final(final, rounds=final_rounds(experiment.folds, wishes, at_once=places))
    if experiment.is_fixed:
        return Estimate((0.0, 0.0), final_s)
    search_s = estimate_search(
        trials,
        count=settings.trials,
        at_once=planned.concurrent,
        scheduler=settings.scheduler,
        finalists=settings.finalists,
        hours=settings.budget.hours,
    )
    return Estimate(search_s, final_s)


def _sample(experiment: Experiment) -> Iterator[TrainConfig]:
    """The baseline, then points of the space; only the baseline of a file without domains."""
    yield experiment.bind(experiment.baseline)
    rng = np.random.default_rng(0)
    for _ in range(0 if experiment.is_fixed else min(_SAMPLES, experiment.search.trials) - 1):
        yield experiment.bind(experiment.space.sample(rng))


def _range(low: float, high: float) -> str:
    return f"{duration_text(low)} to {duration_text(high)}"
