"""Creates studies: scans the photos, makes the split, freezes the experiment and publishes the folder atomically."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as replaced
from pathlib import Path

from carcls.augment.views import check_policy
from carcls.dataset.loading import check_trainable, load_dataset
from carcls.dataset.table import Dataset, Quarantined
from carcls.splits.extra import ExtraPhotos, load_extra, photos_to_label, unlabelled_photos, write_extra
from carcls.splits.k_folds import make_folds, write_folds
from carcls.splits.split import Split, in_no_part, make_split
from carcls.splits.split_files import write_quarantine, write_split
from search.driver.guard import guarded
from search.driver.nodes.fitting_recipes import keep_portfolio
from search.driver.study_draft import exists_already, held, publish, study_place, sync_all
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import Experiment, load
from search.experiment.file.yaml_source import Plain
from search.experiment.node_store import open_store, photos_folder
from search.experiment.policy_use import policies_in_use
from search.experiment.runtime_settings import without_runtime_settings
from search.study.bucket.places import creation
from search.study.checked_files import keep_files
from search.study.deletion import delete_study
from search.study.folder import StudyFolder
from search.study.frozen import frozen_copy, open_experiment
from search.study.study import Study
from search.terminal.logs import get_logger

_log = get_logger(__name__)


def create_study(experiment: Experiment, *, replace: bool = False) -> StudyFolder:
    """Scan the photos, make the split and publish the study's folder atomically.

    The search then uses the study's own copy of the experiment, see `open_experiment`. Raises StudyError if the study
    exists already, DataError for unusable photos and ConfigError for an unusable augmentation policy.
    """
    folder = study_place(experiment)
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
    folder = study_place(experiment)
    return None if not folder.root.exists() or is_untouched(folder) else folder


def open_recording(experiment: Experiment) -> StudyFolder:
    """The study of a recording: created, or continued if it exists with the same settings.

    Raises StudyError if the folder holds a study with other settings or a search; otherwise as `create_study`.
    """
    folder = study_place(experiment)
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
    folder = study_place(experiment)
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


def _create(
    folder: StudyFolder, experiment: Experiment, *, searched: bool, recording: bool = False, replace: bool = False
) -> StudyFolder:
    missing = experiment.missing_files()
    if missing:
        raise ExperimentError(missing)
    open_store(experiment.store)
    for policy, rectangles in policies_in_use(experiment):
        check_policy(policy, rectangles=rectangles)
    experiment.results.mkdir(parents=True, exist_ok=True)
    with creation(folder.root, replace=replace) as store:
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
                sync_all(draft.root)
                publish(draft, folder, replace=replace)
        finally:
            if draft.root.exists():  # the creation failed
                delete_study(draft.root)
        store()
    return folder


@contextmanager
def _owner(draft: StudyFolder, experiment: Experiment, *, searched: bool, recording: bool) -> Iterator[Study | None]:
    """Hold the draft's lock. A search holds it through its study; a fixed recipe has no study."""
    if not searched:
        with held(draft.root):
            yield None
        return
    draft.trials.mkdir()
    ranking = experiment.search.ranking
    where = experiment.storage
    with Study.create(draft.root, experiment.name, is_recording=recording, rank_by=ranking, database=where) as study:
        yield study


def _fill(folder: StudyFolder, experiment: Experiment) -> int:
    """Write the files about the photos; returns the number of labelled ones.

    Raises DataError if the file asks for more folds than its photos allow, before anything is replaced.
    """
    dataset, split = scan_and_split(experiment)
    if experiment.folds > 1:
        make_folds(split, count=experiment.folds, seed=experiment.data.validation.seed)
    write_split(split, folder.split)
    if experiment.record.folds is not None:
        seed = experiment.data.validation.seed
        write_folds(make_folds(split, count=experiment.record.folds, seed=seed), folder.folds)
    extra, left_out = scan_extra(experiment, dataset)
    if extra is not None:
        write_extra(extra, folder.extra)
    # Listed even if no pseudo-labels are asked for: `retrain --set data.pseudo=...` may ask for them after the search.
    to_label = unlabelled_photos(dataset) if experiment.data.pseudo is None else photos_to_label(dataset)
    if to_label is not None:
        write_extra(to_label, folder.unlabelled)
    write_quarantine(folder.quarantine, (*dataset.quarantined, *in_no_part(dataset, split), *left_out))
    return len(dataset.train)


def scan_and_split(experiment: Experiment) -> tuple[Dataset, Split]:
    """Read every photo once and make the split. Raises DataError if the photos cannot be trained on."""
    with guarded():
        data = experiment.data
        photos_folder(experiment.photos_at, experiment.store, renew=True)
        dataset = load_dataset(data.root, processes=len(os.sched_getaffinity(0)), layout=data.layout)
    check_trainable(dataset)
    validation = data.validation
    split = make_split(
        dataset, fraction=validation.fraction, seed=validation.seed, holdout_fraction=data.holdout_fraction
    )
    return dataset, split


def scan_extra(experiment: Experiment, dataset: Dataset) -> tuple[ExtraPhotos | None, tuple[Quarantined, ...]]:
    """Read every extra photo once: those to train on, and what is left out, which a warning counts. (None, ()) without
    `data.extra`. Raises DataError if they cannot be used."""
    root, data = experiment.data.extra, experiment.data
    if root is None or experiment.extra_at is None:
        return None, ()
    with guarded():
        photos_folder(experiment.extra_at, experiment.store, renew=True)
        extra, left_out = load_extra(root, dataset, processes=len(os.sched_getaffinity(0)), nested=data.nested)
    if left_out:
        _log.warning(
            "%s: %d extra photos are left out, such as %s: %s",
            root,
            len(left_out),
            left_out[0].path,
            left_out[0].reason,
        )
    return extra, left_out


def _freeze(draft: StudyFolder, experiment: Experiment, *, published: StudyFolder) -> None:
    """Write the experiment and its augmentation policies. Their paths are those of the published folder."""
    text, copies = frozen_copy(experiment, published)
    draft.experiment.write_text(text, encoding="utf-8")
    for name, content in copies.items():
        draft.policies.mkdir(exist_ok=True)
        (draft.policies / name).write_bytes(content)
