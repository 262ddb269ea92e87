"""What share of the machine an estimate gives to trials and to final trainings."""

from search.bench.reference import Machine
from search.cli.commands.time_estimate import final_rates, rates_of
from search.on_ray.cluster.nodes import ResourcePlan
from tests.search.bench.helpers import bench, training

KNOWN = bench(training(100.0), cores=8)
ON_GPUS = bench(training(100.0), gpus=2, cores=16)


def test_trials_have_what_is_planned_for_them() -> None:
    found = rates_of(ResourcePlan(cpus=2, gpus=0.0, concurrent=4), KNOWN)
    assert (found.machine, found.at_once) == (Machine(2, gpu=False), 4)
    shared = rates_of(ResourcePlan(cpus=4, gpus=0.5, concurrent=4), ON_GPUS)
    assert (shared.machine, shared.at_once) == (Machine(4, gpu=True), 2), "two share a GPU"
    assert rates_of(ResourcePlan(cpus=16, gpus=2.0, concurrent=1), ON_GPUS).at_once == 1


def test_final_trainings_divide_the_machine() -> None:
    planned = ResourcePlan(cpus=2, gpus=0.0, concurrent=4)
    one, folds = final_rates(1, planned, KNOWN), final_rates(5, planned, KNOWN)
    assert (one.machine, one.at_once) == (Machine(8, gpu=False), 1)
    assert (folds.machine, folds.at_once) == (Machine(2, gpu=False), 4)
    gpus = final_rates(5, ResourcePlan(cpus=4, gpus=0.5, concurrent=4), ON_GPUS)
    assert (gpus.machine, gpus.at_once) == (Machine(8, gpu=True), 1), "a whole GPU each"
