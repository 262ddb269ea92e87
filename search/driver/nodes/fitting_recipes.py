"""The portfolio of a new study: what fits this machine and these photos. The study keeps it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from carcls.backend.gpu_memory import cards_seen
from carcls.catalog import BACKBONES, KNOWN_BACKBONES
from carcls.config import TrainConfig
from carcls.errors import HomeError
from carcls.inspection.weights_at_hand import keras_models_folder, weights_in, weights_server_answers
from carcls.system.cuda_driver import Card
from carcls.system.preset_files import newest_weights
from search.errors import ExperimentError
from search.experiment.experiment import Experiment
from search.experiment.file.paths import WEIGHT_WORDS, missing_files
from search.experiment.portfolio import Recipe, fitting, from_text, recipes, to_text
from search.study.study import Study
from search.terminal.logs import get_logger

_log = get_logger(__name__)
_KEY = "portfolio"
_SAMPLES = 64
"""Configurations of the space that are asked for their weights files."""


def keep_portfolio(study: Study, experiment: Experiment, *, photos: int) -> None:
    """Store the recipes that a new study will try, and log those left out. photos: labelled ones.

    The decision depends on this machine, so it is made once. Raises ExperimentError for a file that is no recipe.
    """
    found = recipes(experiment)
    if not found:
        return
    at_hand = _weights_at_hand(experiment)
    cards = cards_seen(os.environ.get("CUDA_VISIBLE_DEVICES"))
    kept, left_out = fitting(
        found,
        photos=photos,
        # A cluster's GPUs are not known yet, and this machine's stand for them.
        gpu_gb=trial_gpu_gb(cards, experiment.search.resources.gpus_per_trial),
        trials=experiment.search.trials,
        weights_of=lambda config: _weights_of(config, at_hand),
        why_not=lambda config: _lacking(config, at_hand) or _final_problem(config, experiment),
    )
    for line in left_out:
        _log.info("%s", line)
    for recipe in kept:
        standing = "measured" if recipe.is_measured else "unmeasured"
        _log.info("portfolio: %s (%s: %s)", recipe.name, standing, recipe.source)
    study.set_value(_KEY, to_text(kept))


def kept_portfolio(study: Study) -> tuple[Recipe, ...]:
    """The recipes that a study tries; empty for studies without a portfolio."""
    text = study.get_value(_KEY)
    return from_text(str(text)) if text else ()


def _lacking(config: TrainConfig, at_hand: dict[tuple[str, float], str]) -> str | None:
    """What the recipe needs and this machine lacks, as a clause: its file, library, policy or preset; or None."""
    missing = next((message for _, message in missing_files({"train": config.model_dump(mode="json")})), None)
    preset = _preset(config)
    if missing is None and preset is not None and _weights_of(config, at_hand) is None:
        return f"its weights, KerasHub's preset {preset}, are not here"
    return missing


def _final_problem(config: TrainConfig, experiment: Experiment) -> str | None:
    """Why the recipe could not be retrained if it won, as a clause, or None. The file's check tries the space alone."""
    try:
        experiment.retrain_config(config)
    except ExperimentError as error:
        return f"its final training would be refused: {'; '.join(map(str, error.problems))}"
    return None


def _weights_of(config: TrainConfig, at_hand: dict[tuple[str, float], str]) -> str | None:
    """The recipe's own file or word, or for `imagenet` what this machine has of it; None without any."""
    if config.weights == "imagenet" and (config.backbone, config.alpha) in at_hand:
        return at_hand[config.backbone, config.alpha]
    preset = _preset(config)
    if preset is not None:
        return config.weights if _has_preset(preset) else None
    if config.weights == "imagenet":
        return at_hand.get(("", 0.0))
    return config.weights if config.weights in WEIGHT_WORDS or Path(config.weights).is_file() else None


def _preset(config: TrainConfig) -> str | None:
    """KerasHub's name of the weights; None if they are not KerasHub's."""
    presets = KNOWN_BACKBONES[config.backbone].presets
    if config.weights == "imagenet" and presets:
        return presets[0]
    return config.weights if config.weights in presets else None


def _has_preset(preset: str) -> bool:
    try:
        return newest_weights(preset) is not None
    except HomeError:
        return False


def _weights_at_hand(experiment: Experiment) -> dict[tuple[str, float], str]:
    """Weights by backbone and alpha: of the experiment's own configurations, then of Keras's cache.

    The key ("", 0.0) stands for all other backbones of Keras if the experiment downloads ImageNet weights itself and
    their server answers: the check before the first trial downloads those of the recipes too.
    """
    configs = list(_configs(experiment))
    found: dict[tuple[str, float], str] = {}
    for config in configs:
        if config.weights not in WEIGHT_WORDS:
            found.setdefault((config.backbone, config.alpha), config.weights)
    pretrained = [config for config in configs if config.weights == "imagenet"]
    for config in pretrained:
        found.setdefault((config.backbone, config.alpha), "imagenet")
    try:
        cached = weights_in([keras_models_folder()])
    except HomeError:  # no home folder, so no cache
        cached = ()
    for one in cached:
        if one.backbone in BACKBONES:
            found.setdefault((one.backbone, one.alpha), "imagenet")
    if any(config.backbone in BACKBONES for config in pretrained) and weights_server_answers():
        found["", 0.0] = "imagenet"
    return found


def _configs(experiment: Experiment) -> Iterator[TrainConfig]:
    yield experiment.bind(experiment.baseline)
    rng = np.random.default_rng(0)
    for _ in range(_SAMPLES):
        yield experiment.bind(experiment.space.sample(rng))


def trial_gpu_gb(cards: Sequence[Card | None], gpus: float | None) -> float | None:
    """Memory of the GPU of one trial in GiB, the smallest of these cards; None without one. Pure.

    gpus: `search.resources.gpus_per_trial`. A batch over several GPUs still needs the whole model on each.
    """
    known = [card.total_mib / 1024 for card in cards if card is not None]
    if not known or gpus == 0:
        return None
    return min(known) * min(1.0, gpus or 1.0)
