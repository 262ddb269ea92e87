"""What an ensemble may be selected from: each training of a study that keeps weights and validation probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.errors import EvidenceError
from carcls.events import EpochReport, best_report
from carcls.frames import Frame, frame_of
from carcls.scoring.evidence import UNREADABLE, Evidence, evidence_labels, sampled_rows
from carcls.splits.k_folds import Folds, read_folds
from carcls.splits.look_alikes import look_alikes
from carcls.splits.split import Split
from carcls.training.retention import trial_file
from search.errors import StudyError
from search.policy.records import TrialRecord, TrialState
from search.study.final_members import members, trains_on_pseudo
from search.study.final_scores import read_scores
from search.study.finals_beside import finals_beside, start_over_command, trial_beside
from search.study.folder import StudyFolder
from search.study.study import Study
from search.study.unseen_answers import UnseenAnswers


@dataclass(frozen=True)
class Weights:
    """The kept weights of one training."""

    folder: Path
    """Of its trial."""
    config: TrainConfig
    last: EpochReport
    """Its last epoch, which names the weights."""
    kept: EpochReport
    """The epoch whose weights they are."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that an ensemble may use."""

    name: str
    """Such as `trial 0003`."""
    weights: tuple[Weights, ...]
    """Of one training, of each fold, or of the trainings whose mean a soup takes."""
    probabilities: NDArray[np.float64]
    """(n, classes) of the photos of `Photos`; for folds each photo's by the model that did not train on it."""
    ms: float
    """Milliseconds a photo: estimated by its epochs' validation, NaN if none tells, or measured, see `timed`."""
    head: NDArray[np.float16] | None = None
    """The probabilities at the end of its first stage: equal ones mean equal weights. None if unknown."""
    by_view: dict[str, NDArray[np.float32]] | None = None
    """For folds: probabilities (n, classes) by view, as stored."""
    unseen: UnseenAnswers | None = None
    """For folds: what each model says of photos that none has seen; None if they are not kept."""
    trial: int | None = None
    """For folds: number of the search's trial that they repeat; None for a fixed recipe."""
    is_soup: bool = False

    @property
    def is_folds(self) -> bool:
        """True for the average of a final training's folds."""
        return self.by_view is not None


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos that judge: validation photos whose probabilities trainings keep, or those of all folds."""

    split: Split
    """The study's own."""
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    """(n,)"""
    units: NDArray[np.int64]
    """(n,) copies and photos of one group share a number."""
    rows: NDArray[np.int64]
    """Positions in the validation table, ascending; empty for those of folds."""

    @classmethod
    def of(cls, split: Split) -> "Photos":
        """All validation photos, or the sample of them that trainings keep probabilities of."""
        sample = sampled_rows(split.validation.labels, len(split.class_names))
        rows = np.arange(len(split.validation)) if sample is None else sample
        ids = tuple(split.validation.ids[row] for row in rows)
        labels = evidence_labels(split.validation.labels, len(split.class_names))
        return cls(split, ids, labels, look_alikes([split])[rows], rows)

    @classmethod
    def of_folds(cls, split: Split, folds: Folds) -> "Photos":
        """All labelled photos but the holdout, of which folds predict each by a model that did not train on it."""
        parts = [folds.split(number) for number in range(folds.count)]
        ids = tuple(id_ for part in parts for id_ in part.validation.ids)
        labels = np.concatenate([part.validation.labels for part in parts])
        return cls(split, ids, labels, look_alikes(parts), np.arange(0))


def candidates(folder: StudyFolder, photos: Photos) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The trainings of a study on its own split, its trials first, and one line for each that lacks what it takes.

    Raises StudyError if there is none.
    """
    found: list[Candidate] = []
    missing: list[str] = []
    finals = (folder, *finals_beside(folder))
    for name, one in (*_trials(folder, photos), *(pair for final in finals for pair in _final(final, photos))):
        if isinstance(one, str):
            missing.append(f"{name}: {one}")
        else:
            found.append(one)
    if not found:
        reasons = f" ({'; '.join(missing[:3])})" if missing else ""
        raise StudyError(f"{folder.root}: no training keeps both weights and validation probabilities{reasons}")
    return tuple(found), tuple(missing)


def final_candidates(folder: StudyFolder, split: Split) -> tuple[Photos, tuple[Candidate, ...], tuple[str, ...]] | None:
    """The final trainings on folds, the study's own first, with the photos that judge them: all that have labels.

    Also a line for each that lacks what it takes. None if the study's own is not on folds, or not over.
    """
    own = folder.retrain_study.folds
    if not (own.is_file() and folder.scores.exists()):
        return None
    photos = Photos.of_folds(split, read_folds(own, split.train.root))
    finals = [pair for final in (folder, *finals_beside(folder)) for pair in _final(final, photos)]
    found = tuple(one for _, one in finals if isinstance(one, Candidate) and one.is_folds)
    return photos, found, tuple(f"{name}: {one}" for name, one in finals if isinstance(one, str))


Found = tuple[str, Candidate | str]
"""A name, and the candidate or why it is none."""


def _trials(folder: StudyFolder, photos: Photos) -> Iterator[Found]:
    study = Study.open(folder.root, read_only=True)
    for record in study.records():
        if record.state is not TrialState.FAIL and record.fold is None and record.best is not None:
            name = f"trial {record.number:04d}"
            if record.repeats is not None:
                name += f" (repeats {record.repeats:04d})"
            yield name, _single(name, folder, study, record, photos)


def _final(folder: StudyFolder, photos: Photos) -> Iterator[Found]:
    own = folder.retrain_study
    if not own.log.exists() or not folder.scores.exists():
        return
    study, trial = Study.open(own.root, read_only=True), trial_beside(folder)
    whose = "the final training" if trial is None else f"the final training of trial {trial:04d}"
    used = members(study)
    try:
        scores = read_scores(folder)
    except StudyError as error:
        yield whose, str(error)
        return
    if used and trains_on_pseudo(study, used[0].number) and scores.pseudo is None:
        yield whose, "it is being made again with pseudo-labels: train that to its end first"
        return
    folds = [record for record in used if record.fold is not None]
    if folds:
        name = f"{len(folds)} folds of {whose}"
        yield name, _folds(name, folder, study, folds, photos, trial=scores.trial)
    elif not len(photos.rows):  # photos of folds
        yield whose, f"it predicts no photo out of fold; '{start_over_command(folder)}' trains it on folds"
    for record in used:
        if record.fold is None and record.best is not None and len(photos.rows):
            yield whose, _single(whose, own, study, record, photos)


def _single(name: str, folder: StudyFolder, study: Study, record: TrialRecord, photos: Photos) -> Candidate | str:
    """A training that validated on the study's own split."""
    best = best_report(record.reports)
    if best is None:
        return "no finite epoch"
    weights = Weights(folder.trial(record.number), study.config(record.number), record.reports[-1], best)
    if not trial_file(weights.folder, weights.last.best_weights).is_file():
        return "its weights are gone"
    try:
        said = Evidence.read(folder.probabilities(record.number, best.epoch)).validation
    except EvidenceError as error:
        return str(error)
    if said.shape != (len(photos.labels), len(photos.split.class_names)):
        return f"its probabilities are of {said.shape[0]} photos, expected {len(photos.labels)}"
    head = _head(folder, record)
    ms = _ms(weights.config, record.reports, best, len(photos.split.validation))
    return Candidate(name, (weights,), said.astype(np.float64), ms, head)


def _folds(
    name: str, folder: StudyFolder, study: Study, records: Sequence[TrialRecord], photos: Photos, *, trial: int | None
) -> Candidate | str:
    own = folder.retrain_study
    weights = tuple(
        Weights(
            own.trial(record.number),
            study.config(record.number),
            record.reports[-1],
            best_report(record.reports) or record.reports[-1],
        )
        for record in records
    )
    if not all(trial_file(one.folder, one.last.best_weights).is_file() for one in weights):
        return "weights are gone"
    try:
        with np.load(folder.out_of_fold, allow_pickle=False) as arrays:
            row_of = {id_: row for row, id_ in enumerate(arrays["ids"].tolist())}
            absent = [id_ for id_ in photos.ids if id_ not in row_of]
            if absent:
                return f"{len(absent)} validation photos have no out-of-fold prediction"
            rows = [row_of[id_] for id_ in photos.ids]
            by_view = {
                key.removeprefix("view/"): np.asarray(arrays[key][rows], np.float32)
                for key in arrays.files
                if key.startswith("view/")
            }
            plain = by_view["plain"].astype(np.float64)
    except UNREADABLE as error:
        return f"{folder.out_of_fold}: cannot be read ({error})"
    ms = 0.0
    for one, record in zip(weights, records, strict=True):
        ms += _ms(one.config, record.reports, one.kept, photos.split.labelled // len(records))
    unseen = UnseenAnswers.read(folder.unseen)
    return Candidate(name, weights, plain, ms, by_view=by_view, unseen=unseen, trial=trial)


def _head(folder: StudyFolder, record: TrialRecord) -> NDArray[np.float16] | None:
    end = next((report for report in record.reports if report.stage == 0 and report.stage_ended), None)
    if end is None or len({report.stage for report in record.reports}) == 1:
        return None
    try:
        return Evidence.read(folder.probabilities(record.number, end.epoch)).validation
    except EvidenceError:
        return None


def _ms(config: TrainConfig, reports: Sequence[EpochReport], kept: EpochReport, photos: int) -> float:
    """Milliseconds a photo: the fastest validation of the whole model at the image size of the weights kept.

    Stages that train only the head validate on stored features, which tells nothing. A stage's first epoch traces the
    model, so it counts only if there is no other. NaN if no other stage ran.
    """
    whole = [
        report
        for report in reports
        if config.stages[report.stage].unfreeze > 0 and report.image_size == kept.image_size
    ]
    traced = [report for report in whole if report.stage_epoch > 1] or whole
    return min((report.seconds.validate / photos * 1000 for report in traced), default=float("nan"))


def frame_of_photos(one: Candidate) -> Frame:
    """What photos are fitted to for a candidate, by its first training. Pure."""
    weights = one.weights[0]
    return frame_of(weights.config.stage_size(weights.kept.stage))


def soup_groups(found: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Single trainings that share the weights of their head stage, two or more a group. Pure.

    They have one architecture, and bit-equal probabilities at the end of their first stage.
    """
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for one in found:
        if one.head is not None and len(one.weights) == 1:
            config = one.weights[0].config
            architecture = (config.backbone, config.alpha, config.weights, config.head.model_dump_json())
            groups.setdefault((*architecture, one.head.shape, one.head.tobytes()), []).append(one)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def as_soup(group: Sequence[Candidate], probabilities: NDArray[np.floating]) -> Candidate:
    """The candidate whose weights are the mean of a group's. probabilities: what that model says."""
    names = ", ".join(one.name.removeprefix("trial ") for one in group)
    return replace(
        group[0],
        name=f"soup of trials {names}",
        weights=tuple(one.weights[0] for one in group),
        probabilities=np.asarray(probabilities, np.float64),
        head=None,
        is_soup=True,
    )
