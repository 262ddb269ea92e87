"""Decides whether extra photos help, by the first fold trained with and without them. Opens no photo."""

from pathlib import Path

from carcls.errors import DataError, EvidenceError
from carcls.events import best_report
from carcls.scoring.evidence import Evidence, evidence_labels, sampled_rows
from carcls.scoring.paired_gain import PairedGain, paired_gain
from carcls.splits.look_alikes import look_alikes
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final.final_study import add_training
from search.policy.records import TrialState
from search.study.checked_files import extra_digest, split_digest
from search.study.final_members import WITH, WITHOUT, extra_gain, fold_count, keep_gain
from search.study.final_scores import ExtraScore
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_extra, read_study_split
from search.study.study import Study


def decide(study: Study, own: StudyFolder, experiment: Experiment) -> None:
    """Records what the extra photos gain on the validation photos of the two compared trainings, which have ended.

    Each is judged by the weights that it kept. own: folder of the final study. Raises StudyError if a file that it
    needs is missing or damaged.
    """
    confidence, seed = experiment.tta.confidence, experiment.search.seed
    try:
        gain = _gain(study, own, experiment.data.root, confidence=confidence, seed=seed)
    except (DataError, EvidenceError) as error:
        raise StudyError(f"the extra photos cannot be judged: {error}") from error
    keep_gain(study, gain)


def add_other_folds(study: Study) -> int:
    """Adds the folds after the first that are not there yet; returns the number of trainings that are left."""
    there = {record.fold for record in study.records()}
    for fold in range(1, fold_count(study)):
        if fold not in there:
            add_training(study, study.config(WITHOUT), fold=fold)
    return sum(record.state is not TrialState.COMPLETE for record in study.records())


def extra_score(study: Study, own: StudyFolder) -> ExtraScore:
    """What the extra photos gained, after the decision. Raises StudyError if extra.csv is missing or damaged."""
    gain = extra_gain(study)
    if gain is None:
        raise ValueError("extra photos are not judged yet")
    try:
        extra = read_study_extra(own, Path(), extra_digest(study))  # only counts them
    except DataError as error:
        raise StudyError(str(error)) from error
    return ExtraScore(len(extra.photos), gain)


def _gain(study: Study, own: StudyFolder, data_root: Path, *, confidence: float, seed: int) -> PairedGain:
    fold = study.record(WITHOUT).fold
    split = read_study_split(own, data_root, split_digest(study, of_folds=fold is not None), fold=fold)
    before, after = (_probabilities(study, own, number) for number in (WITHOUT, WITH))
    class_count = len(split.class_names)
    rows = sampled_rows(split.validation.labels, class_count)
    units = look_alikes([split])
    return paired_gain(
        before.validation,
        after.validation,
        evidence_labels(split.validation.labels, class_count),
        units if rows is None else units[rows],
        confidence=confidence,
        seed=seed,
    )


def _probabilities(study: Study, own: StudyFolder, number: int) -> Evidence:
    reports = study.record(number).reports
    kept = best_report(reports) or reports[-1]
    return Evidence.read(own.probabilities(number, kept.epoch))
