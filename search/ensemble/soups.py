"""Soups of a study's trainings, and predictions of its validation photos."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from carcls.inference.ensemble import Member
from carcls.inference.soup import souped
from carcls.inference.tta import PLAIN, predict_view
from carcls.input.training_data import TrainingData
from carcls.scoring.choices import scaled
from carcls.training.fine_tuning import load_best
from search.ensemble.selectable import Candidate, Photos, Weights, as_soup

_MOST_SOUPED = 8

ByView = Mapping[str, NDArray[np.float32]]


def greedy_soup(group: Sequence[Candidate], photos: Photos, data: TrainingData) -> Candidate:
    """The greedy soup of trainings that share a head (Wortsman et al. 2022): starts with the best one, and adds each
    that makes the mean of weights no worse. The best training itself if none does.

    group: from `soup_groups`.
    """
    by_loss = sorted(group, key=lambda one: scaled(one.probabilities, photos.labels).log_loss)[:_MOST_SOUPED]
    used, loss, best = [by_loss[0]], scaled(by_loss[0].probabilities, photos.labels).log_loss, None
    for one in by_loss[1:]:
        member = load_member([*(other.weights[0] for other in used), one.weights[0]], data, is_soup=True)
        said = predict_validation(member, data, [PLAIN])[PLAIN][photos.rows]
        new_loss = scaled(said, photos.labels).log_loss
        if new_loss <= loss:
            used, loss, best = [*used, one], new_loss, said
    return by_loss[0] if best is None else as_soup(used, best)


def load_member(weights: Sequence[Weights], data: TrainingData, *, is_soup: bool) -> Member:
    """One model of one training, or the soup of several. Raises CheckpointError."""
    class_count = len(data.split.class_names)
    loaded = [Member(*load_best(one.config, one.folder, one.last, class_count=class_count)) for one in weights]
    if not is_soup:
        return loaded[0]
    return replace(loaded[0], classifier=souped([member.classifier for member in loaded]))


def predict_validation(member: Member, data: TrainingData, views: Sequence[str]) -> ByView:
    """Probabilities (n, classes) of all validation photos by view, at the member's own size."""
    pixels = data.pixels("validation", member.size_px)
    size = min(32, len(pixels))
    return {view: predict_view(member.classifier.model, pixels, view, batch_size=size) for view in views}
