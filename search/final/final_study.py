"""The final training's own study, in `retrain/`: its trials are fixed when it is created, one for each fold."""

import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from ruamel.yaml import YAML

from carcls.config import RankBy, TrainConfig
from carcls.events import EpochReport
from carcls.splits.k_folds import EVERY_PHOTO, make_folds, write_folds
from carcls.splits.split_files import read_split, write_split
from carcls.system import atomic
from search.errors import StudyError
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.file.domain_syntax import plain_value
from search.policy.records import TrialRecord, TrialState
from search.policy.scheduler import BudgetState, Continue, Finished, Job, Wait
from search.study.checked_files import keep_file, keep_files, unlabelled_digest
from search.study.deletion import forget_records
from search.study.final_lock import retraining
from search.study.final_members import (
    WITH,
    fold_count,
    gain_of,
    is_comparing,
    second_generation,
    start_comparison,
)
from search.study.final_scores import read_reports, read_scores
from search.study.finals_beside import start_over_command
from search.study.folder import StudyFolder
from search.study.record.journal import LOCK_NAME
from search.study.record.record_pointer import pointer_of
from search.study.study import Study

_NAME_LENGTH = 57
"""Characters of the study's name in the recipe's name, so that the name with its suffix is still valid."""


@dataclass(frozen=True)
class FixedPolicy:
    """Runs the study's trials to their end, in order, and proposes no others."""

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """The first waiting trial, to its last stage. A final training has no budget."""
        del budget
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        if waiting is not None:
            return Continue(waiting.number, waiting.stage_count - 1)
        return Wait() if any(trial.state is TrialState.RUNNING for trial in trials) else Finished()

    def propose(self, trials: Sequence[TrialRecord]) -> NoReturn:
        """Never called: no job is a new trial."""
        raise NotImplementedError

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """The last stage."""
        del trials
        return stage_count - 1


def open_final_study(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> Study:
    """The study of `config` on the experiment's folds, created or reopened for writing.

    Raises StudyError if another process uses it, or if it holds the training of another configuration or an unfinished
    one of an older carsearch.
    """
    with retraining(folder):
        check_free(folder, experiment, config)
    if not folder.retrain_config.exists():
        return _create(folder, experiment, config)
    study = Study.open(folder.retrain)
    try:
        if wants_pseudo(folder, experiment):
            _take_unlabelled(folder, study)
    except BaseException:
        study.close()
        raise
    return study


def check_free(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> None:
    """Checks that the folder is free for this training, and deletes the remains of an interrupted creation.

    Call it with the lock held. Raises StudyError, see `open_final_study`.
    """
    path, own = folder.retrain_config, folder.retrain_study
    is_finished = folder.scores.exists() and folder.model.exists()
    if path.exists() and not own.log.exists() and not is_finished:
        if folder.retrain_reports.exists():
            raise StudyError(
                f"{folder.retrain} holds an unfinished final training of an older carsearch:"
                f" '{start_over_command(folder)}' deletes it and trains from scratch"
            )
        path.unlink()
    if not path.exists():  # written last, so the creation was interrupted
        _clear(own)
        return
    alone = experiment.is_refit_alone
    is_other = _folds(folder) != experiment.folds or _is_refit_alone(folder) != alone
    if own.log.exists():
        study = Study.open(own.root, read_only=True)
        is_comparing_now = is_comparing(study)
        is_other = is_other or is_comparing_now != compares_extra(folder, experiment)
        second, refit = second_generation(study), refit_of(study)
        # A training on all photos is the last one, so no second generation can follow it.
        is_other = is_other or (
            (second is not None or refit is not None) and ((second is not None) != wants_pseudo(folder, experiment))
        )
    if is_other or path.read_text(encoding="utf-8") != _config_text(config):
        raise StudyError(
            f"{folder.retrain} holds the training of another configuration: '{start_over_command(folder)}' deletes it"
        )


def final_reports(folder: StudyFolder) -> tuple[tuple[EpochReport, ...], ...]:
    """The epochs of each final training so far, in fold order, one on all photos last; empty before the first.

    Raises StudyError if they cannot be read.
    """
    own = folder.retrain_study
    if own.log.exists() and folder.retrain_config.exists():
        return tuple(record.reports for record in Study.open(own.root, read_only=True).records())
    older = read_reports(folder.retrain_reports)
    return (older,) if older else ()


def _folds(folder: StudyFolder) -> int:
    """Number of folds of the existing training."""
    with suppress(StudyError):
        return read_scores(folder).folds
    return max(1, fold_count(Study.open(folder.retrain, read_only=True)))


def _is_refit_alone(folder: StudyFolder) -> bool:
    """True if the only training is on all photos."""
    if not folder.retrain_study.log.exists():  # of an older version
        return False
    records = Study.open(folder.retrain, read_only=True).records()
    return [record.fold for record in records] == [EVERY_PHOTO]


def add_training(study: Study, config: TrainConfig, *, fold: int | None) -> int:
    """Adds a training run to the final study. fold: EVERY_PHOTO for one on all photos. Returns its number."""
    return study.add_trial(_flat("", config.model_dump(mode="json")), config, fold=fold)


def compares_extra(folder: StudyFolder, experiment: Experiment) -> bool:
    """Whether the final training is to be compared with one on extra photos.

    Raises StudyError if the study was made without extra photos.
    """
    if experiment.data.extra is None:
        return False
    if not folder.extra.exists():
        raise StudyError(
            f"data.extra: {folder.root} was made without extra photos, which are read with the others when a study is"
            " created: start a new one with another '--set name=...'"
        )
    return True


def wants_pseudo(folder: StudyFolder, experiment: Experiment) -> bool:
    """Whether a second generation is to be trained with pseudo-labels.

    Raises StudyError if the study was made without a list of unlabelled photos.
    """
    if experiment.data.pseudo is None:
        return False
    if not folder.unlabelled.exists():
        raise StudyError(
            f"data.pseudo: {folder.root} has no photos to predict that look like no labelled one, or an older version"
            " created it, without their list: start a new one with another '--set name=...'"
        )
    return True


def refit_of(study: Study) -> TrialRecord | None:
    """The training on all photos, or None."""
    return next((record for record in study.records() if record.fold == EVERY_PHOTO), None)


def concurrent_trainings(study: Study) -> int:
    """Those that divide the machine when a call starts or resumes: the ones of the latest step, ended or not.

    With another number of threads, sums round differently, so a resumed call gives each what it had.
    """
    if refit_of(study) is not None:
        return 1
    second, count = second_generation(study), len(study.records())
    if second is not None:
        return 1 if gain_of(study, "pseudo") is None else max(1, count - second - 1)
    is_decided = is_comparing(study) and gain_of(study, "extra") is not None
    return max(1, count - WITH - 1) if is_decided else count


def _clear(own: StudyFolder) -> None:
    """Deletes the study's files except its lock."""
    forget_records(own)
    for path in (own.log, own.split, own.folds, own.extra, own.unlabelled):
        path.unlink(missing_ok=True)
    for path in (own.trials, own.policies):
        shutil.rmtree(path, ignore_errors=True)
    for path in own.root.glob(f"{own.log.name}.*"):
        if path.name != LOCK_NAME:
            path.unlink()


def _create(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> Study:
    own = folder.retrain_study
    is_searched = folder.log.exists()
    rank_by = Study.open(folder.root, read_only=True).rank_by if is_searched else experiment.search.ranking
    pointer = pointer_of(folder.log)  # with the server's present address
    database = pointer.storage if pointer else None if is_searched else experiment.storage
    study = Study.create(own.root, f"{experiment.name}-{folder.final}", rank_by=rank_by, database=database)
    try:
        own.trials.mkdir()
        split = read_split(folder.split, experiment.data.root)
        write_split(split, own.split)  # needed for folds too, which share the pixels of its photos
        if experiment.folds > 1:
            folds = make_folds(split, count=experiment.folds, seed=experiment.data.validation.seed)
            write_folds(folds, own.folds)
        is_compared = compares_extra(folder, experiment)
        if is_compared:
            shutil.copyfile(folder.extra, own.extra)
            start_comparison(study, folds=experiment.folds)
        keep_files(study, own)
        if wants_pseudo(folder, experiment):
            _take_unlabelled(folder, study)
        if folder.policies.is_dir():
            shutil.copytree(folder.policies, own.policies)
        alone = EVERY_PHOTO if experiment.is_refit_alone else None
        # The other folds follow once the first has shown whether the extra photos help.
        for fold in (0, 0) if is_compared else range(experiment.folds):
            add_training(study, config, fold=fold if experiment.folds > 1 else alone)
        recipe = io.StringIO()
        YAML(typ="safe").dump(_recipe(experiment, config, rank_by), recipe)
        atomic.write_text(folder.recipe, recipe.getvalue())
        # Written last: without it, the folder counts as an interrupted creation.
        atomic.write_text(folder.retrain_config, _config_text(config))
    except BaseException:
        study.close()
        raise
    return study


def _take_unlabelled(folder: StudyFolder, study: Study) -> None:
    """Copies the list of unlabelled photos, unless the final study has it: pseudo-labels may be asked for later."""
    if not unlabelled_digest(study):  # kept after the copy, so that a copy that was cut off is made again
        own = folder.retrain_study.unlabelled
        shutil.copyfile(folder.unlabelled, own)
        keep_file(study, own)


def _config_text(config: TrainConfig) -> str:
    return config.model_dump_json(indent=2)


def _recipe(experiment: Experiment, config: TrainConfig, rank_by: RankBy) -> dict[str, Any]:
    """The same training as an experiment file without domains. rank_by: how the final study ranks its epochs.

    A training on all photos alone becomes one on the split: `config` has the length that the search found for it, and
    a file without a search may not ask for it, see `_check_refit` in `search.experiment.experiment`.
    """
    is_on_all = experiment.photos == "all" and not experiment.is_refit_alone
    search = experiment.search
    cpus = search.resources.cpus_per_trial
    # As many trainings side by side as here, and so as many threads each.
    resources = {} if cpus is None else {"resources": {"cpus_per_trial": cpus}}
    return {
        "name": f"{experiment.name[:_NAME_LENGTH]}-recipe",
        "data": {**experiment.data.model_dump(mode="json"), "root": experiment.photos_at, "extra": experiment.extra_at},
        "train": config.model_dump(mode="json"),
        # This seed governs the views.
        "search": {"seed": search.seed, "deterministic": search.deterministic, "rank_by": rank_by, **resources},
        "retrain": {"folds": experiment.folds, **({"photos": "all"} if is_on_all else {})},
        "tta": experiment.tta.model_dump(mode="json"),
        "results": str(experiment.results),
        "store": experiment.store.model_dump(mode="json"),
    }


def _flat(prefix: str, value: object) -> Mapping[str, Value]:
    """A tree's plain values by dotted key, with stages by name and other items by number, for TensorBoard's table."""
    value = plain_value(value)
    if isinstance(value, dict):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        parts = [(str(item.get("name", number)), item) for number, item in enumerate(value)]
    else:
        return {prefix: value}  # type: ignore[dict-item] # a plain value of a configuration
    flat: dict[str, Value] = {}
    for key, inner in parts:
        flat |= _flat(f"{prefix}.{key}" if prefix else key, inner)
    return flat
