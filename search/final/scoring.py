"""Scores the final training plain and with TTA, measures the cost of a prediction, and exports the model.

A single training is scored on its study's validation photos. With folds, each model predicts the photos that it did not
train on, so that every photo has one prediction, and the exported model is the average.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport, best_report
from carcls.frames import Size, size_name
from carcls.inference.ensemble import Member, averaged, largest_size
from carcls.inference.export import export_model
from carcls.inference.tta import PLAIN, average, predict_view
from carcls.inference.view_choice import TtaChoice, choose_views, plain_only
from carcls.inference.view_priors import recorded_priors
from carcls.input.pixels import Pixels
from carcls.input.training_data import TrainingData
from carcls.scoring import metrics
from carcls.scoring.choices import sharpness_of
from carcls.splits.look_alikes import look_alikes
from carcls.splits.split_files import read_split
from carcls.system import atomic
from carcls.training.fine_tuning import load_best
from search.experiment.experiment import Experiment
from search.final.expected_accuracy import of_folds, of_one, unseen_answers
from search.final.refit import stage_epochs
from search.study.efficiency import Efficiency, stage_costs
from search.study.expected import luck_of_choice
from search.study.final_scores import (
    Expected,
    ExtraScore,
    MemberScore,
    RefitScore,
    Scores,
    refit_length_from,
)
from search.study.folder import StudyFolder
from search.worker.machine_memory import peak_memory_bytes

_FEWEST_TO_CHOOSE = 2
"""With fewer validation photos, no view can be scored on photos that did not choose it."""
_TIMED_BATCHES = 4
"""Batches that time the prediction of an averaged model."""

ByView = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Predicted:
    """One training's model and its predictions for its validation photos."""

    member: Member
    by_view: ByView
    """(n, classes) probabilities by view."""
    seconds: Mapping[str, float]
    """Prediction time by view."""
    data: TrainingData
    reports: Sequence[EpochReport]

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.data.split.validation.labels


@dataclass(frozen=True)
class Refit:
    """A finished training on all photos."""

    folder: Path
    """Its weights."""
    reports: Sequence[EpochReport]


def score(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    parts: Sequence[TrainingData],
    members: Sequence[Sequence[EpochReport]],
    *,
    trial: int | None,
    refit: Refit | None = None,
    folders: Sequence[Path] | None = None,
    extra: ExtraScore | None = None,
    pseudo: ExtraScore | None = None,
    at_once: int | None = None,
    trained_in_bytes: int = 0,
    scored: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Scores the best weights of finished trainings and writes the exported model.

    parts: the photos of each training; members: all its epochs. With several, `out_of_fold.npz` is written too, and
    `unseen.npz` if there are photos that no model has seen.
    folders: with the weights of each; by default those of the final study. refit: a training on all photos, which is
    exported instead; nothing scores it. extra, pseudo: photos besides those of `parts` that were trained on if they
    helped.
    at_once: the most photos that fit in memory, if fewer than a batch. trained_in_bytes: peak main memory of training.
    scored: called with the number of each training once it is scored.
    """
    smallest = min(config.stage_batch_size(stage) for stage in range(len(config.stages)))
    batch_size = min(smallest, at_once or smallest)
    count = sum(len(data.split.validation) for data in parts)
    choosable = count >= _FEWEST_TO_CHOOSE
    views = tuple(dict.fromkeys((PLAIN, *experiment.tta.views))) if choosable else (PLAIN,)
    predicted = []
    for number, (data, reports) in enumerate(zip(parts, members, strict=True)):
        own = folder.retrain_study.trial(number) if folders is None else folders[number]
        member = Member(*load_best(config, own, reports[-1], class_count=len(data.split.class_names)))
        predicted.append(_predicted(member, data, reports, views, batch_size))
        scored(number)
    by_view = {view: np.concatenate([one.by_view[view] for one in predicted]) for view in views}
    labels = np.concatenate([one.labels for one in predicted])
    if choosable:
        choice = choose_views(
            by_view,
            labels,
            confidence=experiment.tta.confidence,
            seed=experiment.search.seed,
            priors=recorded_priors(),
            units=look_alikes([one.data.split for one in predicted]),
        )
    else:
        choice = plain_only(by_view[PLAIN], labels)
    exported = [one.member for one in predicted]
    if refit is not None:
        class_count = len(parts[0].split.class_names)
        exported = [Member(*load_best(config, refit.folder, refit.reports[-1], class_count=class_count))]
    model, size_px = averaged(exported), largest_size(exported)
    export_model(
        folder.model,
        model,
        class_names=parts[0].split.class_names,
        config=config,
        size_px=size_px,
        tta_views=choice.views,
        members=len(exported),
        # Of an average, photos judge single models, which are surer than their mean: it stays a little too cautious.
        sharpness=sharpness_of(average(by_view, choice.views), labels) if choosable else 1.0,
    )
    if len(parts) > 1:
        _write_out_of_fold(folder, predicted, by_view)
    best = best_report(members[0]) or members[0][-1]
    trained = members if refit is None else [*members, refit.reports]
    return Scores(
        best_epoch=best.epoch,
        best_stage=best.stage_name,
        image_size=size_name(size_px),
        validation_photos=count,
        plain_accuracy=choice.plain_accuracy,
        plain_log_loss=choice.plain_log_loss,
        plain_correct=int((by_view[PLAIN].argmax(axis=1) == labels).sum()),
        tta_accuracy=choice.tta_accuracy,
        tta_log_loss=choice.tta_log_loss,
        tta_interval=choice.interval,
        tta_views=choice.views,
        seconds=sum(report.seconds.total for reports in trained for report in reports),
        device=devices.describe(),
        trial=trial,
        tta_evidence=choice.evidence,
        tta_note=None if choosable else f"no TTA: {count} validation photo cannot choose views",
        efficiency=_efficiency(
            folder,
            predicted,
            model,
            size_px=size_px,
            views=choice.views,
            batch_size=batch_size,
            peak_bytes=max(trained_in_bytes, peak_memory_bytes() or 0) or None,
            refit=refit,
        ),
        folds=len(parts),
        out_of_fold=len(parts) > 1,
        members=tuple(_member_score(one) for one in predicted) if len(parts) > 1 else (),
        expected=_expected(
            folder,
            experiment,
            predicted,
            by_view,
            choice,
            trial=trial,
            batch_size=batch_size,
            refit_as=refit_length_from(len(parts), is_measured=bool(extra or pseudo)) if refit else None,
            has_pseudo=pseudo is not None and pseudo.gain.helps,
        ),
        refit=None if refit is None else _refit_score(refit, parts[0], extra),
        extra=extra,
        pseudo=pseudo,
    )


def _expected(
    folder: StudyFolder,
    experiment: Experiment,
    predicted: Sequence[_Predicted],
    by_view: ByView,
    choice: TtaChoice,
    *,
    trial: int | None,
    batch_size: int,
    refit_as: str | None,
    has_pseudo: bool,
) -> Expected:
    """refit_as: what told how long to train the exported model, if it is one on all photos. has_pseudo: whether the
    models trained on pseudo-labels."""
    shares = {} if trial is None else {trial: 1.0}
    luck = luck_of_choice(folder, experiment.data.root, seed=experiment.search.seed, shares=shares)
    folder.unseen.unlink(missing_ok=True)
    labels = np.concatenate([one.labels for one in predicted])
    if len(predicted) == 1:
        found = of_one(choice.accuracy, len(labels), luck=luck)
        return replace(found, of=f"{refit_as}, trained on fewer photos") if refit_as else found
    members = [one.member for one in predicted]
    searched = read_split(folder.split, experiment.data.root).validation
    unseen = None
    if refit_as is None:
        unseen = unseen_answers(
            folder,
            experiment,
            predicted[0].data,
            members,
            choice.views,
            batch_size=batch_size,
            has_pseudo=has_pseudo,
        )
    if unseen is not None:
        unseen.write(folder.unseen)
    found = of_folds(
        average(by_view, choice.views),
        labels,
        None if unseen is None else unseen.said,
        accuracy=choice.accuracy,
        luck=luck,
        search_share=len(searched) / len(labels),
    )
    return replace(found, of="the folds' models, each trained on fewer photos") if refit_as else found


def _refit_score(refit: Refit, part: TrainingData, extra: ExtraScore | None) -> RefitScore:
    """part: of any of the trainings that validate: together its photos are those of the refit."""
    more = extra.photos if extra and extra.gain.helps else 0
    return RefitScore(
        photos=part.split.labelled + more,
        stages=stage_epochs(refit.reports),
        seconds=sum(report.seconds.total for report in refit.reports),
    )


def _predicted(
    member: Member, data: TrainingData, reports: Sequence[EpochReport], views: Sequence[str], batch_size: int
) -> _Predicted:
    pixels = data.pixels("validation", member.size_px)
    by_view, seconds = _timed_views(member.classifier.model, pixels, views, batch_size)
    return _Predicted(member, by_view, seconds, data, reports)


def _member_score(one: _Predicted) -> MemberScore:
    best = best_report(one.reports) or one.reports[-1]
    return MemberScore(
        photos=len(one.labels),
        best_epoch=best.epoch,
        best_stage=best.stage_name,
        accuracy=metrics.accuracy(one.by_view[PLAIN], one.labels),
        log_loss=metrics.log_loss(one.by_view[PLAIN], one.labels),
        seconds=sum(report.seconds.total for report in one.reports),
    )


def _efficiency(
    folder: StudyFolder,
    predicted: Sequence[_Predicted],
    model: keras.Model,
    *,
    size_px: Size,
    views: Sequence[str],
    batch_size: int,
    peak_bytes: int | None,
    refit: Refit | None,
) -> Efficiency:
    """The efficiency of the exported model; the stages are those of the training on all photos, else of the first.

    size_px: of its inputs.
    """
    first = predicted[0]
    seconds, photos = first.seconds, len(first.labels)
    if len(predicted) > 1 or refit is not None:
        some = first.data.pixels("validation", size_px)[: _TIMED_BATCHES * batch_size]
        _, seconds = _timed_views(model, some, views, batch_size)
        photos = len(some)
    return Efficiency(
        parameters=model.count_params(),
        model_bytes=folder.model.stat().st_size,
        peak_memory_bytes=peak_bytes,
        batch_size=min(batch_size, photos),
        plain_s_per_photo=seconds[PLAIN] / photos,
        views_s_per_photo=sum(seconds[view] for view in views) / photos,
        stages=stage_costs(first.reports if refit is None else refit.reports),
    )


def _timed_views(
    model: keras.Model, pixels: Pixels, views: Sequence[str], batch_size: int
) -> tuple[ByView, Mapping[str, float]]:
    """Probabilities (n, classes) and seconds by view."""
    # The first batch traces the model once; that time belongs to no view.
    predict_view(model, pixels[:batch_size], PLAIN, batch_size=batch_size)
    by_view, seconds = {}, {}
    for view in views:
        started = time.perf_counter()
        by_view[view] = predict_view(model, pixels, view, batch_size=batch_size)
        seconds[view] = time.perf_counter() - started
    return by_view, seconds


def _write_out_of_fold(folder: StudyFolder, predicted: Sequence[_Predicted], by_view: ByView) -> None:
    """Arrays: `ids`, `labels`, `folds` (n,), `class_names`, and `view/<name>` (n, classes) float32 for each view."""
    arrays: dict[str, Any] = {
        "ids": np.array([id_ for one in predicted for id_ in one.data.split.validation.ids]),
        "labels": np.concatenate([one.labels for one in predicted]),
        "folds": np.concatenate([np.full(len(one.labels), fold) for fold, one in enumerate(predicted)]),
        "class_names": np.array(predicted[0].data.split.class_names),
        **{f"view/{name}": probabilities for name, probabilities in by_view.items()},
    }
    with atomic.published(folder.out_of_fold) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)
