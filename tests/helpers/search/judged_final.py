"""Processes of a final training that report prepared epochs with probabilities, without training."""

import json
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from carcls.scoring.evidence import Evidence
from carcls.splits.extra import ExtraPhotos, parse_extra, write_extra
from search.experiment.experiment import Experiment
from search.final.retrain import ChildMains, retrain
from search.final.score_job import ScoreJob, result_of
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.worker.segment import Outcome, Segment
from tests.helpers.search.hanging_final import EPOCHS, SCORES


def judged_child(
    segment: Segment,
    messages: Connection,
    lifeline: Connection,
    *,
    sureness: tuple[float, float],
    stop_before: int | None,
) -> None:
    """`child_main`, but all epochs are reported at once, and each predicts the validation photos.

    sureness: probability of the true class without and with extra photos, or pseudo-labelled ones in a study that
    lists unlabelled photos. stop_before: number of the training that fails with an error; None: none does.
    """
    study = StudyFolder(Path(segment.study))
    if segment.number == stop_before:
        messages.send(Outcome("failed", "stopped by the test"))
        return
    note = study.root / f"segment-{segment.number}.json"
    note.write_text(json.dumps(segment.to_json()), encoding="utf-8")
    if segment.pseudo:
        write_extra(read_unlabelled(study), study.pseudo_labels(segment.number))
    split = read_study_split(study, Path(segment.data_root), segment.split_digest, fold=segment.fold)
    labels, classes = split.validation.labels, len(split.class_names)
    # One photo in ten is predicted a little worse, so that confidence alone cannot explain a gain.
    has_more = bool(segment.pseudo if study.unlabelled.exists() else segment.extra_root)
    sure = sureness[has_more] - 0.05 * (np.arange(len(labels)) % 10 == 0)
    probabilities = np.repeat((1.0 - sure)[:, None] / (classes - 1), classes, axis=1)
    probabilities[np.arange(len(labels)), labels] = sure
    for report in EPOCHS:
        for name in (report.checkpoint, report.best_weights):
            path = study.trial(segment.number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        messages.send(replace(report, evidence=Evidence(probabilities.astype(np.float16))))
    messages.send(Outcome("ended"))


def read_unlabelled(study: StudyFolder) -> ExtraPhotos:
    return parse_extra(study.unlabelled.read_bytes(), study.unlabelled, Path("/photos"))


def note_job(job: ScoreJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Like `score_main`, but with fixed scores apart from the number of folds; it notes its job."""
    values = {
        "numbers": job.numbers,
        "extra": job.extra and job.extra.photos,
        "helps": job.extra and job.extra.gain.helps,
        "refit": job.refit_number,
        "pseudo": job.pseudo and job.pseudo.photos,
        "second_helps": job.pseudo and job.pseudo.gain.helps,
    }
    Path(job.root, "retrain", "job.json").write_text(json.dumps(values), encoding="utf-8")
    messages.send(result_of(replace(SCORES, folds=max(1, len(job.numbers)))))
    messages.send(Outcome("ended"))


def retrain_judged(
    folder: StudyFolder, experiment: Experiment, *, sureness: tuple[float, float], stop: int | None = None
) -> tuple[dict[str, Any], list[str]]:
    """A final training by such processes, see `judged_child`. Returns the scoring job and the lines."""
    said: list[str] = []
    child = partial(judged_child, sureness=sureness, stop_before=stop)
    mains = ChildMains(train=child, score=note_job)
    retrain(folder, experiment, experiment.bind({}), trial=None, say=said.append, mains=mains)
    return json.loads((folder.retrain / "job.json").read_text(encoding="utf-8")), said


def segments_by_number(folder: StudyFolder) -> list[dict[str, Any]]:
    """What each training was asked for."""
    notes = sorted(folder.retrain.glob("segment-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    return [json.loads(note.read_text(encoding="utf-8")) for note in notes]
