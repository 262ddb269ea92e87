"""Decides whether extra photos or pseudo-labels help, by the first fold with and without them. Opens no photo."""

from pathlib import Path

from carcls.errors import DataError, EvidenceError
from carcls.events import best_report
from carcls.scoring.evidence import Evidence, evidence_labels, sampled_rows
from carcls.scoring.paired_gain import PairedGain, paired_gain
from carcls.splits.extra import parse_extra
from carcls.splits.look_alikes import look_alikes
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final.final_study import add_training
from search.policy.records import TrialState
from search.study.checked_files import extra_digest, split_digest
from search.study.final_members import (
    WITH,
    WITHOUT,
    Kind,
    first_members,
    fold_count,
    gain_of,
    keep_gain,
    second_generation,
    start_second,
)
from search.study.final_scores import ExtraScore
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_extra, read_study_split
from search.study.study import Study


def decide(study: Study, own: StudyFolder, experiment: Experiment, kind: Kind) -> None:
    """Records what extra photos or pseudo-labels gain on the validation photos of the two compared trainings.

    Both have ended, and each is judged by the weights that it kept. own: folder of the final study. Raises StudyError
    if a file that it needs is missing or damaged.
    """
    confidence, seed = experiment.tta.confidence, experiment.search.seed
    pair = (WITHOUT, WITH) if kind == "extra" else (first_members(study)[0].number, second_generation(study) or 0)
    try:
        gain = _gain(study, own, pair, experiment.data.root, confidence=confidence, seed=seed)
    except (DataError, EvidenceError) as error:
        raise StudyError(f"{_NAMES[kind]} photos cannot be judged: {error}") from error
    keep_gain(study, kind, gain)


def add_other_folds(study: Study, kind: Kind) -> int:
    """Adds the folds after the first that are not there yet: of the first generation, or of the second if it helps.
    Returns the number of trainings that are left."""
    first = 0 if kind == "extra" else second_generation(study) or 0
    gain = gain_of(study, kind)
    if kind == "extra" or (gain is not None and gain.helps):
        there = {record.fold for record in study.records() if record.number >= first}
        for fold in range(1, fold_count(study)):
            if fold not in there:
                add_training(study, study.config(WITHOUT), fold=fold)
    return sum(record.state is not TrialState.COMPLETE for record in study.records())


def add_second_generation(study: Study) -> bool:
    """Adds the first training with pseudo-labels, unless it is there; False if it has ended."""
    number = start_second(study)
    if number == len(study.records()):
        add_training(study, study.config(WITHOUT), fold=first_members(study)[0].fold)
    return study.record(number).state is not TrialState.COMPLETE


def gain_score(study: Study, own: StudyFolder, kind: Kind) -> ExtraScore | None:
    """What extra photos or pseudo-labels gained; None without a decision. Raises StudyError for a damaged list."""
    gain = gain_of(study, kind)
    if gain is None:
        return None
    try:
        if kind == "extra":
            found = read_study_extra(own, Path(), extra_digest(study))  # only counts them
        else:
            path = own.pseudo_labels(second_generation(study) or 0)
            found = parse_extra(path.read_bytes(), path, Path())
    except (DataError, OSError) as error:
        raise StudyError(str(error)) from error
    return ExtraScore(len(found.photos), gain)


_NAMES: dict[Kind, str] = {"extra": "extra", "pseudo": "pseudo-labelled"}


def gain_line(score: ExtraScore, kind: Kind) -> str:
    """The decision in words."""
    return score.line(_NAMES[kind])


def _gain(
    study: Study, own: StudyFolder, pair: tuple[int, int], data_root: Path, *, confidence: float, seed: int
) -> PairedGain:
    fold = study.record(pair[0]).fold
    split = read_study_split(own, data_root, split_digest(study, of_folds=fold is not None), fold=fold)
    before, after = (_probabilities(study, own, number) for number in pair)
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
