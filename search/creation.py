"""Where studies come from: photos scanned, the one split made, the experiment frozen, and the folder appears whole."""

import os
import shutil
import tempfile
from pathlib import Path

from carcls.data.augment import check_policy
from carcls.data.folds import make_split, write_quarantine, write_split
from carcls.data.table import check_trainable, load_dataset
from search.cluster.guard import guarded
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import Experiment
from search.experiment.paths import policy_files
from search.final_lock import retraining
from search.folder import StudyFolder
from search.frozen import frozen_copy, open_experiment
from search.journal import WriterLock
from search.study import Study


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
        return _create(folder, experiment, searched=True, recording=True)
    _same_settings(folder, experiment)
    if not Study.open(folder.root, read_only=True).is_recording:
        raise StudyError(f"{folder.root} is a search: choose another name for the recording by '--set name=...'")
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


def _create(folder: StudyFolder, experiment: Experiment, *, searched: bool, recording: bool = False) -> StudyFolder:
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
            Study.create(draft.root, experiment.name, is_recording=recording).close()
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
