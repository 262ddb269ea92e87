"""How the final trainings of an experiment share this machine: the plan of a whole run and the trainings agree."""

import os

from search.driver.nodes.slots import Slots, slots_for
from search.experiment.experiment import Experiment
from search.worker.machine_memory import gpu_count


def final_slots(experiment: Experiment, trainings: int) -> Slots:
    """Divides the cores that this process may use, and the GPUs that it sees, among so many final trainings."""
    return slots_for(
        trainings,
        cores=len(os.sched_getaffinity(0)),
        gpus=gpu_count(),
        cpus_per_trial=experiment.search.resources.cpus_per_trial,
        gpus_each=experiment.retrain_gpus,
    )
