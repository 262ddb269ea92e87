"""A search, from wherever its study stands to its end: begun and resumed by the same code."""

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from ray import tune
from ray.tune.error import TuneError

from carcls.atomic import full_disk_behind
from carcls.config import TrainConfig
from carcls.errors import DiskFullError
from search.cluster.adapters import adapters
from search.cluster.connection import connected
from search.cluster.dispatch import Dispatcher, WorkerSettings
from search.cluster.guard import guarded
from search.cluster.resources import Node, ResourcePlan, data_fingerprint, plan, probe_nodes
from search.cluster.trial import run_segment
from search.cluster.warmup import distinct_weights, warm_up
from search.errors import ClusterError
from search.experiment.experiment import Experiment
from search.folder import StudyFolder
from search.policy.policy import Policy, search_policy
from search.study import Study
from search.tensorboard import TensorBoardWriter
from search.watch import Progress, Watch, set_gpus_per_trial

_WEIGHTS_SAMPLES = 256
"""Leaves out one of twenty equally likely backbones with a chance of 2e-6; a trial would then find out by itself."""

ProgressContext = AbstractContextManager[Progress]


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """How a run of a search ended."""

    finished: bool
    """False where it was interrupted; `carsearch resume` goes on."""
    trained: bool
    """True where there is an epoch to report on."""


def search(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    address: str | None = None,
    progress: ProgressContext,
    policy: Policy | None = None,
) -> SearchEnd:
    """Runs the study to its end, from wherever it stands. Raises StudyError, ClusterError.

    policy: what decides; None: the experiment's own.
    """
    with Study.open(folder.root) as study, guarded():
        study.interrupt_running()
        with connected(address) as nodes:
            if address is not None:
                _probe(folder, experiment, nodes)
            resources = _plan(experiment, nodes)
            warm_up(nodes, distinct_weights(_some_configs(experiment)))
            set_gpus_per_trial(study, resources.gpus)
            with progress as shown:
                watch = Watch(experiment, study, TensorBoardWriter(folder.root), shown, gpus=resources.gpus)
                dispatcher = Dispatcher(
                    experiment,
                    study,
                    folder,
                    policy=policy or search_policy(experiment),
                    worker=_worker_settings(experiment, resources),
                    listeners=(watch,),
                )
                _tune(folder, dispatcher, resources)
                if dispatcher.finished:
                    study.finish()
                else:
                    study.interrupt_running()
                watch.finished()
        return SearchEnd(finished=dispatcher.finished, trained=any(record.reports for record in study.records()))


def _some_configs(experiment: Experiment) -> Iterator[TrainConfig]:
    """The baseline and enough samples of the space to meet every combination of backbone and weights."""
    yield experiment.bind(experiment.baseline)
    rng = np.random.default_rng(0)
    for _ in range(_WEIGHTS_SAMPLES):
        yield experiment.bind(experiment.space.sample(rng))


def _probe(folder: StudyFolder, experiment: Experiment, nodes: Sequence[Node]) -> None:
    fingerprint = data_fingerprint(folder.split, experiment.data.root)
    probe_nodes(nodes, study=folder.root, data_root=experiment.data.root, data_fingerprint=fingerprint)


def _plan(experiment: Experiment, nodes: Sequence[Node]) -> ResourcePlan:
    wishes = experiment.search.resources
    return plan(
        nodes,
        gpus_per_trial=wishes.gpus_per_trial,
        cpus_per_trial=wishes.cpus_per_trial,
        max_concurrent=experiment.search.max_concurrent,
    )


def _worker_settings(experiment: Experiment, resources: ResourcePlan) -> WorkerSettings:
    return WorkerSettings(
        threads=resources.cpus,
        gpu_share=resources.gpus or None,
        store=experiment.store.model_dump(mode="json"),
        deterministic=experiment.search.deterministic,
    )


def _tune(folder: StudyFolder, dispatcher: Dispatcher, resources: ResourcePlan) -> None:
    searcher, scheduler = adapters(dispatcher)
    tuner = tune.Tuner(
        tune.with_resources(run_segment, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=".ray", storage_path=str(folder.root), verbose=0, failure_config=tune.FailureConfig(max_failures=0)
        ),
    )
    try:
        with _signals_restored():
            tuner.fit()
    except RuntimeError as error:
        raise ClusterError(f"Ray gave up: {error}; go on by 'carsearch resume {folder.root}'") from error
    except (OSError, TuneError) as error:
        full = full_disk_behind(error)
        if full is None:
            raise
        raise DiskFullError(f"{full}; then go on by 'carsearch resume {folder.root}'") from error
    finally:
        shutil.rmtree(folder.root / ".ray", ignore_errors=True)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Tune leaves its own handlers behind, which would swallow a later Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
