"""Creates studies: scans the photos, makes the split, freezes the experiment and publishes the folder atomically."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace as replaced
from pathlib import Path

from carcls.augment.views import check_policy
from carcls.dataset.table import Dataset, check_trainable, load_dataset
from carcls.splits.k_folds import make_folds, write_folds
from carcls.splits.split import Split, make_split, write_quarantine, write_split
from carcls.system.atomic import sync
from search.driver.guard import guarded
from search.driver.portfolio import keep_portfolio
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import Experiment, load
from search.experiment.node_store import open_store
from search.experiment.paths import policy_files
from search.experiment.runtime_settings import without_runtime_settings
from search.experiment.yaml_source import Plain
from search.study.checked_files import keep_files
from search.study.final_lock import retraining
from search.study.folder import StudyFolder
from search.study.frozen import frozen_copy, open_experiment
from search.study.journal import LOCK_NAME, WriterLock
from search.study.study import Study

_RANDOM = "[a-z0-9_]{8}"
"""Suffix that mkdtemp adds to a name."""
_YOUNG_S = 60.0
"""Longer than a creator needs between making its draft and locking it."""
_SET_ASIDE = ".old-"
"""Separates the name of a replaced study from its random suffix. Study names contain no dot."""


def create_study(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """Scan the photos, make the split and publish the study's folder atomically.

    The search then uses the study's own copy of the experiment, see `open_experiment`. Raises StudyError if the study
    exists already, DataError for unusable photos and ConfigError for an unusable augmentation policy.
    """
    folder = _place(experiment)
    if folder.root.exists() and not replace:
        if not is_untouched(folder):
            raise exists_already(folder)
        replace = True
    return _create(folder, experiment, searched=True, replace=replace)


def is_untouched(folder: StudyFolder) -> bool:
    """True for a study without any trial, so that deleting it loses nothing. Its first run failed early."""
    if not folder.log.is_file() or folder.retrain.exists():
        return False
    study = Study.open(folder.root, read_only=True)
    return not study.records() and not study.is_recording


def study_of(experiment: Experiment) -> StudyFolder | None:
    """The folder of the experiment's study, or None if it does not exist or is untouched."""
    folder = _place(experiment)
    return None if not folder.root.exists() or is_untouched(folder) else folder


def open_recording(experiment: Experiment) -> StudyFolder:
    """The study of a recording: created, or continued if it exists with the same settings.

    Raises StudyError if the folder holds a study with other settings or a search; otherwise as `create_study`.
    """
    folder = _place(experiment)
    if not folder.root.exists():
        return _create(folder, experiment, searched=True, recording=True)
    _same_settings(folder, experiment)
    if not Study.open(folder.root, read_only=True).is_recording:
        raise StudyError(f"{folder.root} is a search: choose another name for the recording with '--set name=...'")
    return folder


def create_recipe_folder(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """The folder of a fixed recipe: like a study's, but without trials.

    An existing folder with the same settings is kept, even if the early-stopping patience differs. Raises StudyError if
    the file has domains to search, or if the folder holds the results of other settings.
    """
    if not experiment.is_fixed:
        raise StudyError(
            f"{experiment.path} has domains to search ({', '.join(list(experiment.space.domains)[:3])}, ...):"
            " use 'carsearch run', or fix them with '--set'"
        )
    folder = _place(experiment)
    if folder.root.exists() and not replace:
        _same_settings(folder, experiment, but_for=without_runtime_settings)
        return folder
    return _create(folder, experiment, searched=False, replace=replace)


def _same_settings(
    folder: StudyFolder, experiment: Experiment, *, but_for: Callable[[Mapping[str, Plain]], Mapping[str, Plain]] = dict
) -> None:
    """but_for: removes the settings that may differ from a tree."""
    same = frozen_copy(replaced(experiment, tree=but_for(experiment.tree)), folder)[0]
    # Either the settings at creation, or those as changed by a resume.
    there = (load(folder.experiment, stored=True), open_experiment(folder))
    if same not in [replaced(one, tree=but_for(one.tree)).resolved_yaml() for one in there]:
        raise StudyError(
            f"{folder.root} holds the results of other settings: choose another name with '--set name=...',"
            " or start over with '--replace', which deletes them"
        )


def exists_already(folder: StudyFolder) -> StudyError:
    """The error of `run` for a study that exists already."""
    return StudyError(
        f"{folder.root} exists already: continue it with 'carsearch resume {folder.root}',"
        " or start over with '--replace', which deletes it"
    )


def _place(experiment: Experiment) -> StudyFolder:
    """The study's folder, existing or not, after removing what a killed creation left behind."""
    folder = StudyFolder(experiment.results / experiment.name)
    for path in sorted(folder.root.parent.glob(f".{folder.name}[-.]*")):
        is_draft = re.fullmatch(re.escape(f".{folder.name}-") + _RANDOM, path.name)
        is_old = re.fullmatch(re.escape(f".{folder.name}{_SET_ASIDE}") + _RANDOM, path.name)
        if is_old or (is_draft and not _is_being_born(path)):
            with suppress(StudyError), _held(path):  # StudyError: another process uses it
                if is_old and not folder.root.exists():
                    _rename(path, folder.root)  # Killed between two renames: restore the old study.
                else:
                    shutil.rmtree(path, ignore_errors=True)
    return folder


def _is_being_born(draft: Path) -> bool:
    """True if a draft's creator may not have locked it yet: it is young, and its lock file names no process."""
    with suppress(FileNotFoundError):
        if (draft / LOCK_NAME).stat().st_size:
            return False
    with suppress(FileNotFoundError):
        return abs(time.time() - draft.stat().st_mtime) < _YOUNG_S
    return False


def _create(
    folder: StudyFolder, experiment: Experiment, *, searched: bool, recording: bool = False, replace: bool = False
) -> StudyFolder:
    missing = experiment.missing_files()
    if missing:
        raise ExperimentError(missing)
    open_store(experiment.store)
    for _, policy in policy_files(dict(experiment.tree)):
        check_policy(policy)
    experiment.results.mkdir(parents=True, exist_ok=True)
    draft = StudyFolder(Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=experiment.results)))
    try:
        # The lock is held until the folder has its final name, so that no other process deletes the draft.
        with _owner(draft, experiment, searched=searched, recording=recording) as study:
            photos = _fill(draft, experiment)
            if study:
                keep_files(study, draft)
                if not recording:
                    keep_portfolio(study, experiment, photos=photos)
            _freeze(draft, experiment, published=folder)
            draft.root.chmod(0o755)  # mkdtemp makes it private, but results should be as readable as their parent
            _sync_all(draft.root)
            _publish(draft, folder, replace=replace)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)
    return folder


@contextmanager
def _owner(draft: StudyFolder, experiment: Experiment, *, searched: bool, recording: bool) -> Iterator[Study | None]:
    """Hold the draft's lock. A search holds it through its study; a fixed recipe has no study."""
    if not searched:
        with _held(draft.root):
            yield None
        return
    draft.trials.mkdir()
    ranking = experiment.search.ranking
    with Study.create(draft.root, experiment.name, is_recording=recording, rank_by=ranking) as study:
        yield study


@contextmanager
def _held(root: Path) -> Iterator[None]:
    lock = WriterLock.acquire(root)
    try:
        yield
    finally:
        lock.release()


def _fill(folder: StudyFolder, experiment: Experiment) -> int:
    """Write the files about the photos; returns the number of labelled ones."""
    dataset, split = scan_and_split(experiment)
    write_split(split, folder.split)
    if experiment.record.folds is not None:
        seed = experiment.data.validation.seed
        write_folds(make_folds(split, count=experiment.record.folds, seed=seed), folder.folds)
    write_quarantine(folder.quarantine, dataset.quarantined)
    return len(dataset.train)


def scan_and_split(experiment: Experiment) -> tuple[Dataset, Split]:
    """Read every photo once and make the split. Raises DataError if the photos cannot be trained on."""
    with guarded():
        data = experiment.data
        dataset = load_dataset(data.root, processes=len(os.sched_getaffinity(0)), layout=data.layout)
    check_trainable(dataset)
    validation = data.validation
    split = make_split(
        dataset, fraction=validation.fraction, seed=validation.seed, holdout_fraction=data.holdout_fraction
    )
    return dataset, split


def _freeze(draft: StudyFolder, experiment: Experiment, *, published: StudyFolder) -> None:
    """Write the experiment and its augmentation policies. Their paths are those of the published folder."""
    text, copies = frozen_copy(experiment, published)
    draft.experiment.write_text(text, encoding="utf-8")
    for name, content in copies.items():
        draft.policies.mkdir(exist_ok=True)
        (draft.policies / name).write_bytes(content)


def _sync_all(root: Path) -> None:
    """Sync everything before the folder gets its name: after a power cut it is complete or absent."""
    for path in (*root.rglob("*"), root):
        sync(path)


def _publish(draft: StudyFolder, folder: StudyFolder, *, replace: bool) -> None:
    """Rename the finished draft into place. With `replace`, the old folder is deleted only afterwards.

    Raises StudyError if a driver or a final training is using the old folder, or if a folder has appeared meanwhile.
    """
    if not folder.root.exists():
        _rename(draft.root, folder.root)
        return
    if not replace:
        raise exists_already(folder)
    old = folder.root.with_name(f".{folder.name}{_SET_ASIDE}{draft.name[-8:]}")
    with _held(folder.root), retraining(folder):
        _rename(folder.root, old)
        try:
            _rename(draft.root, folder.root)
        except OSError:
            _rename(old, folder.root)
            raise
    shutil.rmtree(old, ignore_errors=True)


def _rename(source: Path, target: Path) -> None:
    """Rename a study's folder durably."""
    source.rename(target)
    sync(target.parent)
