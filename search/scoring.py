"""Judges the final training on validation photos: plain, with TTA, and what a prediction costs; exports the model."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from carcls import devices, metrics
from carcls.config import TrainConfig
from carcls.data.pixels import Pixels
from carcls.data.source import TrainingData
from carcls.events import EpochReport, best_report
from carcls.inference.export import export_model
from carcls.inference.tta import PLAIN, TtaChoice, choose_views, predict_view
from carcls.models.classifier import Classifier
from carcls.training.stages import load_best
from search.efficiency import Efficiency, peak_memory_bytes, stage_costs
from search.experiment.experiment import Experiment
from search.folder import StudyFolder
from search.scores import Scores

_FEWEST_TO_CHOOSE = 2
"""Validation photos below which no view can be judged on photos that did not choose it."""

ByView = Mapping[str, NDArray[np.float32]]


def score(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    data: TrainingData,
    reports: Sequence[EpochReport],
    *,
    trial: int | None,
    at_once: int | None = None,
) -> Scores:
    """Scores the best weights of a finished training, and writes the exported model; `reports` are all its epochs.

    at_once: photos that there is room for, where that is less than a batch.
    """
    batch_size = min(config.batch_size, at_once or config.batch_size)
    class_names = data.split.class_names
    classifier, size_px = load_best(config, folder.retrain, reports[-1], class_count=len(class_names))
    pixels, labels = data.pixels("validation", size_px), data.split.validation.labels
    choosable = len(labels) >= _FEWEST_TO_CHOOSE
    views = dict.fromkeys((PLAIN, *experiment.tta.views)) if choosable else (PLAIN,)
    by_view, seconds = _timed_views(classifier, pixels, tuple(views), batch_size)
    if choosable:
        choice = choose_views(by_view, labels, confidence=experiment.tta.confidence, seed=experiment.search.seed)
    else:
        choice = plain_only(by_view[PLAIN], labels)
    export_model(
        folder.model, classifier, class_names=class_names, config=config, size_px=size_px, tta_views=choice.views
    )
    best = best_report(reports) or reports[-1]
    return Scores(
        best_epoch=best.epoch,
        best_stage=best.stage_name,
        image_size=size_px,
        validation_photos=len(labels),
        plain_accuracy=choice.plain_accuracy,
        plain_log_loss=choice.plain_log_loss,
        plain_correct=int((by_view[PLAIN].argmax(axis=1) == labels).sum()),
        tta_accuracy=choice.tta_accuracy,
        tta_log_loss=choice.tta_log_loss,
        tta_interval=choice.interval,
        tta_views=choice.views,
        seconds=sum(report.seconds.total for report in reports),
        device=devices.describe(),
        trial=trial,
        tta_note=None if choosable else f"no TTA: {len(labels)} validation photo cannot choose views",
        efficiency=Efficiency(
            parameters=classifier.model.count_params(),
            model_bytes=folder.model.stat().st_size,
            peak_memory_bytes=peak_memory_bytes(),
            batch_size=min(batch_size, len(labels)),
            plain_s_per_photo=seconds[PLAIN] / len(labels),
            views_s_per_photo=sum(seconds[view] for view in choice.views) / len(labels),
            stages=stage_costs(reports),
        ),
    )


def plain_only(plain: NDArray[np.float32], labels: NDArray[np.int64]) -> TtaChoice:
    """The choice where there are too few photos to make one; pure. plain: (n, classes) probabilities, labels: (n,)."""
    accuracy, log_loss = metrics.accuracy(plain, labels), metrics.log_loss(plain, labels)
    return TtaChoice(
        views=(PLAIN,),
        plain_log_loss=log_loss,
        tta_log_loss=log_loss,
        plain_accuracy=accuracy,
        tta_accuracy=accuracy,
        interval=(0.0, 0.0),
        helps=False,
    )


def _timed_views(
    classifier: Classifier, pixels: Pixels, views: Sequence[str], batch_size: int
) -> tuple[ByView, Mapping[str, float]]:
    """Probabilities (n, classes) of each view, and the seconds that it took."""
    # The first batch traces the model; that is paid once and belongs to no view.
    predict_view(classifier.model, pixels[:batch_size], PLAIN, batch_size=batch_size)
    by_view, seconds = {}, {}
    for view in views:
        started = time.perf_counter()
        by_view[view] = predict_view(classifier.model, pixels, view, batch_size=batch_size)
        seconds[view] = time.perf_counter() - started
    return by_view, seconds
