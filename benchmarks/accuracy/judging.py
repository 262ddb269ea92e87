"""What models say, as `answers` predicted it: blended, judged, and written as a submission."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.result import Judged, judged
from benchmarks.accuracy.steps import Settings, python
from carcls.dataset.loading import load_unlabelled
from carcls.inference.submission import write_answers, write_submission
from carcls.splits.split_files import read_split
from search.experiment.experiment import load
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model, or the mean of several, says."""

    test: NDArray[np.floating]
    """(m, classes), of the photos to predict."""
    test_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    ms: float
    """Milliseconds a photo."""
    held_out: NDArray[np.floating] | None
    """(n, classes), with the next three, or None without a holdout."""
    ids: tuple[str, ...] = ()
    labels: NDArray[np.int64] | None = None
    units: tuple[str, ...] = ()

    def judged(self) -> Judged | None:
        if self.held_out is None or self.labels is None:
            return None
        return judged(self.ids, self.units, self.held_out, self.labels)


def answers(settings: Settings, study: StudyFolder, model: Path, name: str) -> Answers:
    """Of an exported model, from an earlier call if there was one. name: of the file that keeps them."""
    out = settings.work / "answers" / f"{settings.name}_{name}.npz"
    if not out.exists():
        out.parent.mkdir(exist_ok=True)
        python("benchmarks.accuracy.answers", str(study.root), str(model), str(out))
    with np.load(out, allow_pickle=False) as arrays:
        found = {key: arrays[key] for key in arrays.files}
    return Answers(
        test=found["test"],
        test_ids=tuple(found["test_ids"].tolist()),
        class_names=tuple(found["class_names"].tolist()),
        ms=float(found["ms"][0]),
        held_out=found.get("held_out"),
        ids=tuple(found["ids"].tolist()) if "ids" in found else (),
        labels=found.get("labels"),
        units=tuple(found["units"].tolist()) if "units" in found else (),
    )


def blended(several: Sequence[Answers]) -> Answers:
    """The mean of several models' probabilities."""
    first = several[0]
    held_out = [one.held_out for one in several if one.held_out is not None]
    return Answers(
        test=np.mean([one.test for one in several], axis=0),
        test_ids=first.test_ids,
        class_names=first.class_names,
        ms=sum(one.ms for one in several),
        held_out=np.mean(held_out, axis=0) if held_out else None,
        ids=first.ids,
        labels=first.labels,
        units=first.units,
    )


def out_of_fold(studies: Sequence[StudyFolder]) -> Judged:
    """Each photo of the folds by the mean of the studies' models that did not train on it, plain.

    The studies have the same folds: those depend on photos, split and their number alone. Raises ValueError if not.
    """
    said, first = [], None
    for study in studies:
        with np.load(study.out_of_fold, allow_pickle=False) as arrays:
            ids, labels, folds = (arrays[key] for key in ("ids", "labels", "folds"))
            said.append(arrays["view/plain"])
        first = (ids, labels, folds) if first is None else first
        if not all(np.array_equal(*pair) for pair in zip(first, (ids, labels, folds), strict=True)):
            raise ValueError(f"{study.root}: its folds are not those of {studies[0].root}")
    experiment = open_experiment(studies[0])
    split = read_split(studies[0].split, experiment.data.root)
    tables = (split.train, split.validation)
    path_of = {id_: path for table in tables for id_, path in zip(table.ids, table.paths, strict=True)}
    unit_of = {photo: group[0] for group in split.units for photo in group}
    units = [unit_of.get(path_of[id_], path_of[id_]) for id_ in first[0].tolist()]
    return judged(first[0].tolist(), units, np.mean(said, axis=0), first[1])


def submit(settings: Settings, told: Answers, path: Path) -> None:
    """Writes the submission, checked against the data set's sample as `carsearch submit` does. Photos that cannot be
    read get the first class."""
    found = load_unlabelled(settings.root, processes=2, layout=load(settings.experiment).data.layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    common = {"probabilities": told.test, "ids": told.test_ids, "class_names": told.class_names}
    if found.sample_submission is None:
        write_answers(path, asked=found.ids, fallback=told.class_names[0], **common)
    else:
        write_submission(path, sample=found.sample_submission, fallback=told.class_names[0], **common)
