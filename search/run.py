"""A search, from an experiment to a finished study: made once, run, resumed by the same code."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ray import tune

from carcls.config import TrainConfig
from carcls.data.augment import check_policy
from carcls.data.folds import make_split, write_quarantine, write_split
from carcls.data.table import check_trainable, load_dataset
from search.cluster.adapters import adapters
from search.cluster.dispatch import Dispatcher, WorkerSettings
from search.cluster.guard import guarded
from search.cluster.resources import Node, ResourcePlan, connect, data_fingerprint, disconnect, plan, probe_nodes
from search.cluster.trial import run_segment
from search.cluster.warmup import distinct_weights, warm_up
from search.errors import ClusterError, ExperimentError, StudyError
from search.experiment.experiment import Experiment
from search.experiment.paths import policy_files
from search.final_lock import retraining
from search.folder import StudyFolder
from search.frozen import frozen_copy, open_experiment
from search.journal import WriterLock
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


def create_study(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """Scans the photos, makes the one split, and lets the study's folder appear whole.

    What is to be searched is then the study's own copy of the experiment, see `open_experiment`. Raises StudyError
    where the study exists already, DataError where the photos cannot be used, ConfigError where an augmentation policy
    cannot.
    """
    folder = StudyFolder(experiment.results / experiment.name)
    if folder.root.exists() and not replace:
        raise StudyError(
            f"{folder.root} exists already: go on with it by 'carsearch resume {folder.root}',"
            " or start over by '--replace', which deletes it"
        )
    return _create(folder, experiment, searched=True)


def open_recording(experiment: Experiment) -> StudyFolder:
    """The study of a recording: made where there is none, gone on with where it stands with the same file.

    Raises StudyError where the study of other settings stands there; else as `create_study`.
    """
    folder = StudyFolder(experiment.results / experiment.name)
    if not folder.root.exists():
        return _create(folder, experiment, searched=True)
    _same_settings(folder, experiment)
    return folder


def create_recipe_folder(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """The folder of a fixed recipe: as a study's, without trials. One that stands there with the same file is kept.

    Raises StudyError where the file has domains, or another one's results stand there.
    """
    if not experiment.is_fixed:
        raise StudyError(
            f"{experiment.path} has domains to search ({', '.join(list(experiment.space.domains)[:3])}, ...):"
            " use 'carsearch run', or fix them by '--set'"
        )
    folder = StudyFolder(experiment.results / experiment.name)
    if folder.root.exists() and not replace:
        _same_settings(folder, experiment)
        return folder
    return _create(folder, experiment, searched=False)


def _same_settings(folder: StudyFolder, experiment: Experiment) -> None:
    if open_experiment(folder).resolved_yaml() != frozen_copy(experiment, folder)[0]:
        raise StudyError(
            f"{folder.root} holds the results of other settings: choose another name by '--set name=...',"
            " or start over by '--replace', which deletes them"
        )


def _create(folder: StudyFolder, experiment: Experiment, *, searched: bool) -> StudyFolder:
    missing = experiment.missing_files()
    if missing:
        raise ExperimentError(missing)
    for _, policy in policy_files(dict(experiment.tree)):
        check_policy(policy)
    experiment.results.mkdir(parents=True, exist_ok=True)
    draft = StudyFolder(Path(tempfile.mkdtemp(prefix=f".{experiment.name}-", dir=experiment.results)))
    try:
        _fill(draft, experiment)
        _freeze(draft, experiment, published=folder)
        if searched:
            draft.trials.mkdir()
            Study.create(draft.root, experiment.name).close()
        draft.root.chmod(0o755)  # mkdtemp makes it private; results are as readable as their parent
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)
    return folder


def _fill(folder: StudyFolder, experiment: Experiment) -> None:
    with guarded():
        data = experiment.data
        dataset = load_dataset(data.root, processes=len(os.sched_getaffinity(0)), layout=data.layout)
    check_trainable(dataset)
    validation = data.validation
    split = make_split(dataset, fraction=validation.fraction, seed=validation.seed, judge_fraction=data.judge_fraction)
    write_split(split, folder.split)
    write_quarantine(folder.quarantine, dataset.quarantined)


def _freeze(draft: StudyFolder, experiment: Experiment, *, published: StudyFolder) -> None:
    """Writes the experiment, and the files that it owns, as they will read from where the draft is published."""
    text, copies = frozen_copy(experiment, published)
    draft.experiment.write_text(text, encoding="utf-8")
    for name, content in copies.items():
        draft.policies.mkdir(exist_ok=True)
        (draft.policies / name).write_bytes(content)


def _publish(draft: StudyFolder, folder: StudyFolder) -> None:
    """Renames the finished draft into place; what `--replace` removes goes only once the new one stands there.

    Raises StudyError where a driver or a final training is at work in the old one.
    """
    if not folder.root.exists():
        draft.root.rename(folder.root)
        return
    lock = WriterLock.acquire(folder.root)
    old = folder.root.with_name(f".old-{draft.root.name.lstrip('.')}")
    try:
        with retraining(folder):
            folder.root.rename(old)
            try:
                draft.root.rename(folder.root)
            except OSError:
                old.rename(folder.root)
                raise
    finally:
        lock.release()
    shutil.rmtree(old, ignore_errors=True)


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
        nodes = connect(address)
        try:
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
        finally:
            disconnect()
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
