"""Selects an ensemble among a study's trainings, and exports it as one model if that helps.

It works from the probabilities that trainings keep. Only those selected, and soups, predict any photo again.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from carcls.backend import devices
from carcls.dataset.names import first_names
from carcls.frames import Frame, take_photos_alike
from carcls.inference.ensemble import Member, averaged, largest_size
from carcls.inference.export import export_model
from carcls.inference.tta import PLAIN, average
from carcls.inference.view_choice import choose_views
from carcls.inference.view_priors import recorded_priors
from carcls.input.training_data import TrainingData
from carcls.scoring.choices import scaled, sharpness_of
from carcls.scoring.ensembles import EnsembleChoice, Limits, choose_ensemble
from carcls.splits.split import Split
from carcls.splits.split_files import read_split
from search.ensemble.costs import Measure, measured_ms, timed
from search.ensemble.expectation import expected_of
from search.ensemble.selectable import (
    Candidate,
    Photos,
    candidates,
    final_candidates,
    frame_of_photos,
    soup_groups,
)
from search.ensemble.soups import greedy_soup, load_member, predict_validation
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store, photos_folder
from search.study.checked_files import check_folder
from search.study.ensemble_scores import EnsembleScores, MemberShare
from search.study.expected import luck_of_choice
from search.study.final_scores import Expected
from search.study.folder import StudyFolder

MOST_CANDIDATES = 40
"""The best single ones; those behind would hardly be selected."""
_SHOWN = 5
_TRIES = 3
"""Choices at most, if the model that was chosen turns out slower than its members promise."""
_BELOW = 0.95
"""Share of the members' time that would just have sufficed."""
_FEWEST_FINALS = 2
"""Final trainings on folds that are averaged; one is an average already."""


def build_ensemble(
    folder: StudyFolder,
    experiment: Experiment,
    *,
    most: int,
    max_ms: float | None,
    say: Callable[[str], None],
    or_single: bool = False,
    measure: Measure = measured_ms,
) -> EnsembleScores:
    """Writes `ensemble/scores.json`, and `ensemble/model.keras` if the ensemble helps; deletes an earlier model if not.

    most: different members at most. max_ms: largest time of one photo in milliseconds, as measured here. say: prints a
    line. or_single: export the best training alone if the ensemble does not help. measure: times a model. Raises
    StudyError if nothing can be selected.
    """
    check_folder(folder)
    split = read_split(folder.split, photos_folder(experiment.photos_at, experiment.store))
    photos, found = _pool(folder, split, say)
    found = _best(found, photos, say)
    devices.configure_for_prediction()
    data = TrainingData(
        split=split,
        store=open_store(experiment.store),
        view_seed=experiment.search.seed,
        processes=len(os.sched_getaffinity(0)),
    )
    found = (*found, *_soups(found, photos, data))
    if max_ms is not None:
        found = timed(found, data, measure)
    limits = Limits(most, max_ms)
    for tries_left in reversed(range(_TRIES)):
        choice = _choose(found, photos, experiment, limits, max_ms=max_ms)
        if or_single and not choice.helps:
            choice = replace(
                choice,
                weights=((choice.best, 1),),
                accuracy=choice.best_accuracy,
                log_loss=choice.best_log_loss,
            )
        scores = _scores(found, choice, photos)
        folder.ensemble.mkdir(exist_ok=True)
        for earlier in (folder.ensemble_scores, folder.ensemble_model):  # one would not describe the other
            earlier.unlink(missing_ok=True)
        if not choice.helps and not or_single:
            break
        try:
            scores = _export(
                folder, experiment, found, choice, scores, photos=photos, data=data, max_ms=max_ms, measure=measure
            )
            break
        except _TooSlowError as error:
            promised_ms = sum(found[number].ms for number, _ in choice.weights)
            below_ms = _BELOW * promised_ms * error.limit_ms / error.ms  # what was promised, so others are chosen
            is_single = len(choice.weights) == 1
            limits = replace(limits, cost=below_ms) if is_single else replace(limits, sum_cost=below_ms)
            if not tries_left:
                raise StudyError(
                    f"the ensemble takes {error.ms:.1f} ms a photo here, more than --max-ms {error.limit_ms:g}:"
                    " ask for a larger one, or for a smaller --max"
                ) from error
    scores.write(folder.ensemble_scores)
    return scores


class _TooSlowError(Exception):
    """A model that takes longer than its members together."""

    def __init__(self, ms: float, limit_ms: float) -> None:
        super().__init__(ms, limit_ms)
        self.ms = ms
        self.limit_ms = limit_ms


def _pool(folder: StudyFolder, split: Split, say: Callable[[str], None]) -> tuple[Photos, tuple[Candidate, ...]]:
    """What may be selected, and the photos that judge it.

    After a final training on folds, only such ones, judged by all labelled photos. A search's trials are judged by the
    few of its split, which also chose them, and there a single model would stand for the average of the folds.
    """
    if (finals := final_candidates(folder, split)) is not None:
        photos, found, missing = finals
        if len(found) < _FEWEST_FINALS:
            lacking = f" ({'; '.join(missing)})" if missing else ""
            raise StudyError(
                f"{folder.root}: an ensemble of final trainings needs two on folds, and there is {len(found)}{lacking}:"
                f" 'carsearch retrain {folder.root} --beside' trains another backbone"
            )
        for line in missing:
            say(f"not a candidate: {line}")
        say(f"{len(found)} final trainings, judged by all {len(photos.labels):,} photos of their folds")
        return photos, found
    photos = Photos.of(split)
    found, missing = candidates(folder, photos)
    for line in missing:
        say(f"not a candidate: {line}")
    return photos, found


def _best(found: Sequence[Candidate], photos: Photos, say: Callable[[str], None]) -> tuple[Candidate, ...]:
    """The best candidates by scaled log-loss, in their order, of those that take photos as the better ones do."""
    losses = [scaled(one.probabilities, photos.labels).log_loss for one in found]
    order = np.argsort(np.where(np.isnan(losses), np.inf, losses), kind="stable")
    frames: dict[int, Frame] = {}
    left_out: list[str] = []
    for place in order:
        frame = frame_of_photos(found[place])
        if not take_photos_alike([*frames.values(), frame]):
            left_out.append(found[place].name)
        elif len(frames) < MOST_CANDIDATES:
            frames[int(place)] = frame
    if left_out:
        best, own = found[order[0]].name, frames[int(order[0])]
        say(
            f"not a candidate: {first_names(left_out, _SHOWN)}: one model cannot feed it with the photos of {best},"
            f" which are fitted by `{own.fit}` to {own}"
        )
    return tuple(found[place] for place in sorted(frames))


def _choose(
    found: Sequence[Candidate],
    photos: Photos,
    experiment: Experiment,
    limits: Limits,
    *,
    max_ms: float | None,
) -> EnsembleChoice:
    """limits: in ms, which may be below the user's max_ms."""
    try:
        return choose_ensemble(
            [one.probabilities for one in found],
            photos.labels,
            limits=limits,
            confidence=experiment.tta.confidence,
            seed=experiment.search.seed,
            costs=[one.ms for one in found],
            units=photos.units,
        )
    except ValueError as error:
        limit = "" if max_ms is None else f" within {max_ms:g} ms a photo (--max-ms)"
        raise StudyError(f"no ensemble can be selected{limit}: {error}") from error


def _soups(found: Sequence[Candidate], photos: Photos, data: TrainingData) -> list[Candidate]:
    """A soup of each group that shares a head, if it has two trainings or more."""
    soups = [greedy_soup(group, photos, data) for group in soup_groups(found)]
    return [soup for soup in soups if soup.is_soup]


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
    measure: Measure,
) -> EnsembleScores:
    """Writes the model of a choice; returns the scores with its views and costs. Raises _TooSlowError before it writes
    anything."""
    selected = [(found[number], share.share) for (number, _), share in zip(choice.weights, scores.members, strict=True)]
    views = [view for view in dict.fromkeys((PLAIN, *experiment.tta.views)) if _all_have(selected, view)]
    total = {view: np.zeros(found[0].probabilities.shape) for view in views}
    members: list[Member] = []
    weights: list[float] = []
    for one, share in selected:
        groups = [one.weights] if one.is_soup else [(single,) for single in one.weights]
        own = [load_member(group, data, is_soup=one.is_soup) for group in groups]
        members += own
        weights += [share / len(own)] * len(own)
        by_view = one.by_view
        if by_view is None:
            by_view = {view: said[photos.rows] for view, said in predict_validation(own[0], data, views).items()}
        for view in views:
            total[view] += share * by_view[view]
    tta = choose_views(
        total,
        photos.labels,
        confidence=experiment.tta.confidence,
        seed=experiment.search.seed,
        priors=recorded_priors(),
        units=photos.units,
    )
    chosen = tta.views
    model, size_px = averaged(members, weights), largest_size(members)
    ms = measure(model, data.pixels("validation", size_px), chosen)
    if max_ms is not None and sum(ms.values()) > max_ms:
        chosen = (PLAIN,)
    total_ms = sum(ms[view] for view in chosen)
    if max_ms is not None and total_ms > max_ms:
        raise _TooSlowError(total_ms, max_ms)
    sharpness = sharpness_of(average(total, chosen), photos.labels)
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
    judged = (tta.accuracy if chosen == tta.views else tta.plain_accuracy) + choice.fitted_accuracy - choice.accuracy
    return replace(
        scores,
        expected=_expected(folder, experiment, selected, photos, judged=judged) if choice.helps else None,
        sharpness=sharpness,
        views=tuple(chosen),
        ms=total_ms,
        ms_plain=ms[PLAIN],
        model_bytes=folder.ensemble_model.stat().st_size,
    )


def _expected(
    folder: StudyFolder,
    experiment: Experiment,
    selected: Sequence[tuple[Candidate, float]],
    photos: Photos,
    *,
    judged: float,
) -> Expected | None:
    """judged: see `expected_of`."""
    of_trials = {one.trial: share for one, share in selected if one.trial is not None}
    luck = luck_of_choice(folder, experiment.data.root, seed=experiment.search.seed, shares=of_trials)
    return expected_of(selected, photos, judged=judged, luck=luck)


def _all_have(selected: Sequence[tuple[Candidate, float]], view: str) -> bool:
    """Whether a view can be judged: folds have those that the final training predicted."""
    return all(one.by_view is None or view in one.by_view for one, _ in selected)


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
