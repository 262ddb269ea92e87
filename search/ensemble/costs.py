"""What a photo costs: milliseconds of models, timed on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras

from carcls.inference.tta import PLAIN, predict_view
from carcls.input.pixels import Pixels
from carcls.input.training_data import TrainingData
from search.ensemble.selectable import Candidate, Weights
from search.ensemble.soups import load_member

_TIMED_BATCHES = 4
_ROUNDS = 2
"""The faster one counts: other work on the machine only slows."""

Measure = Callable[[keras.Model, Pixels, Sequence[str]], dict[str, float]]
"""As `measured_ms`."""


def timed(found: Sequence[Candidate], data: TrainingData, measure: Measure) -> tuple[Candidate, ...]:
    """The candidates with measured times: one model of each architecture and image size is built and timed.

    Validation times of trainings mislead: several trainings ran at once, and a stage of one epoch traced its model.
    """
    known: dict[tuple[object, ...], float] = {}

    def ms(weights: Weights) -> float:
        kind = _kind(weights)
        if kind not in known:
            member = load_member([weights], data, is_soup=False)
            model, pixels = member.classifier.model, data.pixels("validation", member.size_px)
            known[kind] = measure(model, pixels, [PLAIN])[PLAIN]
        return known[kind]

    return tuple(
        replace(one, ms=ms(one.weights[0]) if one.is_soup else sum(ms(weights) for weights in one.weights))
        for one in found
    )


def _kind(weights: Weights) -> tuple[object, ...]:
    """Equal for models that take equally long."""
    config = weights.config
    return (
        config.backbone,
        config.alpha,
        config.head.model_dump_json(),
        config.precision,
        config.fit,
        str(weights.kept.image_size),
    )


def measured_ms(model: keras.Model, pixels: Pixels, views: Sequence[str]) -> dict[str, float]:
    """Milliseconds a photo by view."""
    size = min(32, len(pixels))
    some = pixels[: _TIMED_BATCHES * size]
    predict_view(model, some[:size], PLAIN, batch_size=size)  # traces the model
    measured = {}
    for view in views:
        seconds = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            predict_view(model, some, view, batch_size=size)
            seconds.append(time.perf_counter() - started)
        measured[view] = min(seconds) / len(some) * 1000
    return measured
