"""Selects an ensemble among a study's trainings, and exports it as one model if that helps.

It works from the probabilities that trainings keep. Only those selected, and soups, predict any photo again.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices
from carcls.inference.ensemble import Member, averaged, largest_size
from carcls.inference.export import export_model
from carcls.inference.soup import souped
from carcls.inference.tta import PLAIN, average, predict_view
from carcls.inference.view_choice import choose_views
from carcls.inference.view_priors import recorded_priors
from carcls.input.pixels import Pixels
from carcls.input.training_data import TrainingData
from carcls.scoring.choices import scaled
from carcls.scoring.ensembles import EnsembleChoice, Limits, choose_ensemble
from carcls.splits.split_files import read_split
from carcls.training.fine_tuning import load_best
from search.ensemble.ensemble_scores import EnsembleScores, MemberShare
from search.ensemble.selectable import Candidate, Photos, Weights, as_soup, candidates, photo_shape, soup_groups
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store, photos_folder
from search.study.checked_files import check_folder
from search.study.folder import StudyFolder

MOST_CANDIDATES = 40
"""The best single ones; those behind would hardly be selected."""
_MOST_SOUPED = 8
_TIMED_BATCHES = 4

ByView = Mapping[str, NDArray[np.float32]]


def build_ensemble(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    most: int,
    max_ms: float | None,
    say: Callable[[str], None],
    or_single: bool = False,
) -> EnsembleScores:
    """Writes `ensemble/scores.json`, and `ensemble/model.keras` if the ensemble helps; deletes an earlier model if not.

    most: different members at most. max_ms: largest time of one photo in milliseconds. say: prints a line.
    or_single: export the best training alone if the ensemble does not help. Raises StudyError if nothing can be
    selected.
    """
    check_folder(folder)
    split = read_split(folder.split, photos_folder(experiment.photos_at, experiment.store))
    photos = Photos.of(split)
    found, missing = candidates(folder, photos)
    for line in missing:
        say(f"not a candidate: {line}")
    found = _best(found, photos)
    devices.configure_for_prediction()
    data = TrainingData(
        split=split,
        store=open_store(experiment.store),
        view_seed=experiment.search.seed,
        processes=len(os.sched_getaffinity(0)),
    )
    found = (*found, *_soups(found, photos, data))
    choice = _choose(found, photos, experiment, most=most, max_ms=max_ms)
    if or_single and not choice.helps:
        choice = replace(choice, weights=((choice.best, 1),))
    scores = _scores(found, choice, photos)
    folder.ensemble.mkdir(exist_ok=True)
    folder.ensemble_model.unlink(missing_ok=True)  # it would not be the one that the scores describe
    if choice.helps or or_single:
        scores = _export(folder, experiment, found, choice, scores, photos=photos, data=data, max_ms=max_ms)
    scores.write(folder.ensemble_scores)
    return scores


def _best(found: Sequence[Candidate], photos: Photos) -> tuple[Candidate, ...]:
    """The best candidates by scaled log-loss, in their order, of those that take photos as the very best one does."""
    losses = [scaled(one.probabilities, photos.labels).log_loss for one in found]
    order = np.argsort(np.where(np.isnan(losses), np.inf, losses), kind="stable")
    shape = photo_shape(found[order[0]])
    alike = [place for place in order if photo_shape(found[place]) == shape]
    return tuple(found[place] for place in sorted(alike[:MOST_CANDIDATES]))


def _choose(
    found: Sequence[Candidate], photos: Photos, experiment: Experiment, *, most: int, max_ms: float | None
) -> EnsembleChoice:
    try:
        return choose_ensemble(
            [one.probabilities for one in found],
            photos.labels,
            limits=Limits(most, max_ms),
            confidence=experiment.tta.confidence,
            seed=experiment.search.seed,
            costs=[one.ms for one in found],
            units=photos.units,
        )
    except ValueError as error:
        limit = "" if max_ms is None else f" (--max-ms {max_ms:g})"
        raise StudyError(f"no ensemble can be selected{limit}: {error}") from error


def _soups(found: Sequence[Candidate], photos: Photos, data: TrainingData) -> list[Candidate]:
    """A greedy soup of each group that shares a head: the best training, then each that makes the mean no worse."""
    soups = []
    for group in soup_groups(found):
        by_loss = sorted(group, key=lambda one: scaled(one.probabilities, photos.labels).log_loss)[:_MOST_SOUPED]
        used, loss, best = [by_loss[0]], scaled(by_loss[0].probabilities, photos.labels).log_loss, None
        for one in by_loss[1:]:
            member = _member([*(other.weights[0] for other in used), one.weights[0]], data, is_soup=True)
            said = _predict(member, data, [PLAIN])[PLAIN][photos.rows]
            new_loss = scaled(said, photos.labels).log_loss
            if new_loss <= loss:
                used, loss, best = [*used, one], new_loss, said
        if best is not None:
            soups.append(as_soup(used, best))
    return soups


def _member(weights: Sequence[Weights], data: TrainingData, *, is_soup: bool) -> Member:
    """One model of one training, or the soup of several."""
    class_count = len(data.split.class_names)
    loaded = [Member(*load_best(one.config, one.folder, one.last, class_count=class_count)) for one in weights]
    if not is_soup:
        return loaded[0]
    return replace(loaded[0], classifier=souped([member.classifier for member in loaded]))


def _predict(member: Member, data: TrainingData, views: Sequence[str]) -> ByView:
    """Probabilities of all validation photos by view, at the member's own size."""
    pixels = data.pixels("validation", member.size_px)
    size = min(32, len(pixels))
    return {view: predict_view(member.classifier.model, pixels, view, batch_size=size) for view in views}


def _export(
    folder: StudyFolder,
    experiment: Experiment,
    found: Sequence[Candidate],
    choice: EnsembleChoice,
    scores: EnsembleScores,
    *,
    photos: Photos,
    data: TrainingData,
    max_ms: float | None,
) -> EnsembleScores:
    """Writes the model of a choice; returns the scores with its views and costs."""
    selected = [(found[number], share.share) for (number, _), share in zip(choice.weights, scores.members, strict=True)]
    views = [view for view in dict.fromkeys((PLAIN, *experiment.tta.views)) if _all_have(selected, view)]
    total = {view: np.zeros(found[0].probabilities.shape) for view in views}
    members: list[Member] = []
    weights: list[float] = []
    for one, share in selected:
        groups = [one.weights] if one.is_soup else [(single,) for single in one.weights]
        own = [_member(group, data, is_soup=one.is_soup) for group in groups]
        members += own
        weights += [share / len(own)] * len(own)
        by_view = one.by_view
        if by_view is None:
            by_view = {view: said[photos.rows] for view, said in _predict(own[0], data, views).items()}
        for view in views:
            total[view] += share * by_view[view]
    chosen = choose_views(
        total,
        photos.labels,
        confidence=experiment.tta.confidence,
        seed=experiment.search.seed,
        priors=recorded_priors(),
        units=photos.units,
    ).views
    model, size_px = averaged(members, weights), largest_size(members)
    ms = _measured_ms(model, data.pixels("validation", size_px), chosen)
    if max_ms is not None and sum(ms.values()) > max_ms:
        chosen = (PLAIN,)
    total_ms = sum(ms[view] for view in chosen)
    if max_ms is not None and total_ms > max_ms:
        raise StudyError(
            f"the ensemble takes {total_ms:.1f} ms a photo here, more than --max-ms {max_ms:g}, although less was"
            " estimated from the trainings: ask for a smaller --max or --max-ms"
        )
    sharpness = scaled(average(total, chosen), photos.labels).factor
    export_model(
        folder.ensemble_model,
        model,
        class_names=data.split.class_names,
        config=selected[0][0].weights[0].config,
        size_px=size_px,
        tta_views=chosen,
        members=len(members),
        sharpness=sharpness,
    )
    return replace(
        scores,
        sharpness=sharpness,
        views=tuple(chosen),
        ms=total_ms,
        ms_plain=ms[PLAIN],
        model_bytes=folder.ensemble_model.stat().st_size,
    )


def _all_have(selected: Sequence[tuple[Candidate, float]], view: str) -> bool:
    """Whether a view can be judged: folds have those that the final training predicted."""
    return all(one.by_view is None or view in one.by_view for one, _ in selected)


def _measured_ms(model: keras.Model, pixels: Pixels, views: Sequence[str]) -> dict[str, float]:
    """Milliseconds a photo by view."""
    size = min(32, len(pixels))
    some = pixels[: _TIMED_BATCHES * size]
    predict_view(model, some[:size], PLAIN, batch_size=size)  # traces the model
    measured = {}
    for view in views:
        started = time.perf_counter()
        predict_view(model, some, view, batch_size=size)
        measured[view] = (time.perf_counter() - started) / len(some) * 1000
    return measured


def _scores(found: Sequence[Candidate], choice: EnsembleChoice, photos: Photos) -> EnsembleScores:
    draws = sum(count for _, count in choice.weights)
    return EnsembleScores(
        is_kept=choice.helps,
        members=tuple(_share(found[number], count / draws, photos) for number, count in choice.weights),
        best=found[choice.best].name,
        photos=len(photos.labels),
        candidates=len(found),
        accuracy=choice.accuracy,
        log_loss=choice.log_loss,
        best_accuracy=choice.best_accuracy,
        best_log_loss=choice.best_log_loss,
        fitted_accuracy=choice.fitted_accuracy,
        fitted_log_loss=choice.fitted_log_loss,
        single_accuracy=choice.single_accuracy,
        single_log_loss=choice.single_log_loss,
        interval=choice.interval,
    )


def _share(one: Candidate, share: float, photos: Photos) -> MemberShare:
    return MemberShare(
        name=one.name,
        share=share,
        accuracy=float((one.probabilities.argmax(axis=1) == photos.labels).mean()),
        log_loss=scaled(one.probabilities, photos.labels).log_loss,
        models=1 if one.is_soup else len(one.weights),
        ms=None if np.isnan(one.ms) else one.ms,
    )
