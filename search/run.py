"""A search, from an experiment to a finished study: made once, run, resumed by the same code."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.cluster.dispatch import Dispatcher, Listener, WorkerSettings
from search.cluster.resources import ResourcePlan, connect, data_fingerprint, plan, probe_nodes
from search.errors import StudyError
from search.experiment.experiment import Experiment, load
from search.folder import StudyFolder
from search.study import Study


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """How a run of a search ended."""

    finished: bool
    """False where it was interrupted; `carsearch resume` goes on."""
    elapsed_s: float


def create_study(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """Scans the photos, makes the one split, and lets the study's folder appear whole.

    Raises StudyError where the study exists already, DataError where the photos cannot be used.
    """
    folder = StudyFolder(experiment.results / experiment.name)
    if folder.root.exists() and not replace:
        raise StudyError(
            f"{folder.root} exists already: go on with it by 'carsearch resume {folder.root}',"
            " or start over by '--replace', which deletes it"
        )
    experiment.results.mkdir(parents=True, exist_ok=True)
    draft = StudyFolder(Path(tempfile.mkdtemp(prefix=f".{experiment.name}-", dir=experiment.results)))
    try:
        _fill(draft, experiment)
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)
    return folder


def _fill(folder: StudyFolder, experiment: Experiment) -> None:
    from carcls.data.folds import make_split, write_quarantine, write_split
    from carcls.data.table import load_dataset

    dataset = load_dataset(experiment.data.root, processes=os.cpu_count() or 1)
    validation = experiment.data.validation
    split = make_split(dataset, fraction=validation.fraction, seed=validation.seed)
    write_split(split, folder.split)
    write_quarantine(folder.quarantine, dataset.quarantined)
    folder.experiment.write_text(experiment.resolved_yaml(), encoding="utf-8")
    folder.trials.mkdir()
    Study.create(folder.root, experiment.name).close()
    folder.root.chmod(0o755)


def _publish(draft: StudyFolder, folder: StudyFolder) -> None:
    """Renames the finished draft into place; what `--replace` removes goes only once the new one is whole."""
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.root.parent))
    try:
        if folder.root.exists():
            folder.root.rename(old / "study")
        draft.root.rename(folder.root)
    finally:
        shutil.rmtree(old)


def open_experiment(folder: StudyFolder, overrides: Sequence[str] = ()) -> Experiment:
    """The study's own frozen experiment. Raises StudyError where the folder holds no study."""
    if not folder.experiment.is_file():
        raise StudyError(f"{folder.root} holds no study: expected {folder.experiment.name} there, as 'carsearch run' makes it")
    return load(folder.experiment, overrides)


def search(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    address: str | None = None,
    listeners: tuple[Listener, ...] = (),
) -> SearchEnd:
    """Runs the study to its end, from wherever it stands. Raises StudyError, ClusterError."""
    study = Study.open(folder.root)
    try:
        study.interrupt_running()
        nodes = connect(address)
        try:
            if address is not None:
                fingerprint = data_fingerprint(folder.split, experiment.data.root)
                probe_nodes(nodes, study=folder.root, data_root=experiment.data.root, data_fingerprint=fingerprint)
            wishes = experiment.search.resources
            resources = plan(
                nodes,
                gpus_per_trial=wishes.gpus_per_trial,
                cpus_per_trial=wishes.cpus_per_trial,
                max_concurrent=experiment.search.max_concurrent,
            )
            dispatcher = Dispatcher(experiment, study, folder, _worker_settings(experiment, resources), listeners)
            _tune(folder, dispatcher, resources)
        finally:
            _disconnect()
        finished = dispatcher.next_is_finished()
        if finished:
            study.finish()
        else:
            study.interrupt_running()
        return SearchEnd(finished=finished, elapsed_s=dispatcher.elapsed_s())
    finally:
        study.close()


def _worker_settings(experiment: Experiment, resources: ResourcePlan) -> WorkerSettings:
    store_root = experiment.store.root
    return WorkerSettings(
        threads=resources.cpus,
        gpu_share=resources.gpus or None,
        store_root=str(store_root) if store_root else None,
        deterministic=experiment.search.deterministic,
    )


def _tune(folder: StudyFolder, dispatcher: Dispatcher, resources: ResourcePlan) -> None:
    from ray import tune

    from search.cluster.adapters import RecordingScheduler, SegmentSearcher
    from search.cluster.trial import run_segment

    tuner = tune.Tuner(
        tune.with_resources(run_segment, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=SegmentSearcher(dispatcher),
            scheduler=RecordingScheduler(dispatcher),
            num_samples=-1,
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=".ray", storage_path=str(folder.root), verbose=0, failure_config=tune.FailureConfig(max_failures=0)
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(folder.root / ".ray", ignore_errors=True)


def _disconnect() -> None:
    import ray

    ray.shutdown()
