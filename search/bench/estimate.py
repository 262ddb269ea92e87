"""Estimates how long a search and its final training take, from this machine's rates. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from carcls.config import TrainConfig
from carcls.config.kept_features import feature_passes, views_can_be_shared
from carcls.frames import frame_of, size_name
from search.bench.rates import Rates
from search.experiment.search_settings import FinalistSettings, SchedulerConfig

_STAGE_S = 3.0
"""Seconds of a stage beside its epochs and its compilation: a process starts, a checkpoint is read."""
_START_S = 25.0
"""Seconds to start a search, and again to start and score a final training."""
SPREAD = 1.3
"""How far off an estimate may be, both ways. One search and retrain of drawn cars: see docs/hardware.md."""


@dataclass(frozen=True, slots=True)
class Photos:
    """Numbers of photos of a split."""

    train: int
    validation: int
    holdout: int = 0


@dataclass(frozen=True, slots=True)
class TrialCost:
    """Seconds of one configuration."""

    stages_s: tuple[float, ...]
    """What each stage takes for itself."""
    shared_s: Mapping[str, float] = field(default_factory=dict)
    """What the store keeps for all trials of a node, by what it is: decoded photos, features of frozen backbones."""

    @property
    def total_s(self) -> float:
        """If nothing is in the store."""
        return sum(self.stages_s) + sum(self.shared_s.values())


@dataclass(frozen=True, slots=True)
class Estimate:
    """Lower and upper end, in seconds."""

    search_s: tuple[float, float]
    final_s: tuple[float, float]

    @property
    def total_s(self) -> tuple[float, float]:
        """Search and final training."""
        return self.search_s[0] + self.final_s[0], self.search_s[1] + self.final_s[1]


def trial_cost(config: TrainConfig, photos: Photos, rates: Rates) -> TrialCost | None:
    """What one configuration takes; None if nothing is known of its backbone."""
    stages, shared = [], {}
    for number, stage in enumerate(config.stages):
        frame = frame_of(config.stage_size(number))
        px = math.sqrt(frame.height * frame.width)
        cost = rates.cost(
            config.backbone,
            config.alpha,
            px=px,
            batch_size=config.stage_batch_size(number),
            precision=config.precision,
        )
        if cost is None:
            return None
        view_s = rates.view_s(px) if config.augment.policy != "none" else 0.0
        scored_s = (photos.validation + photos.holdout) * cost.forward_s
        size = size_name(config.stage_size(number))
        everything = photos.train + photos.validation + photos.holdout
        shared[f"pixels {size}"] = everything * rates.decode_s()
        own = _STAGE_S + cost.compile_s + stage.epochs * cost.epoch_s
        if stage.unfreeze == 0.0:
            for name, seconds in _features(config, number, photos.train * _together(cost.forward_s, view_s, rates)):
                shared[name] = seconds
            shared[f"scored {_features_key(config, number)}"] = scored_s
        else:
            photo_s = _together(cost.photo_s(stage.unfreeze), view_s, rates)
            own += stage.epochs * (photos.train * photo_s + scored_s)
        stages.append(own)
    return TrialCost(tuple(stages), shared)


def estimate_search(
    trials: Sequence[TrialCost],
    *,
    count: int,
    at_once: int,
    scheduler: SchedulerConfig,
    finalists: FinalistSettings,
    hours: float | None,
) -> tuple[float, float]:
    """Lower and upper end of a search's seconds. trials: a sample of its configurations, the baseline first.

    An adaptive scheduler may compare at every rung or at none.
    """
    pruned = _search_s(trials, count, scheduler, finalists) / at_once
    everything = _search_s(trials, count, SchedulerConfig(kind="none"), finalists) / at_once
    most = everything if scheduler.kind == "adaptive" else pruned
    longest = max(trial.total_s for trial in trials)
    ends = (max(pruned, longest) / SPREAD + _START_S, max(most, longest) * SPREAD + _START_S)
    if hours is None:
        return ends
    limit = 3600 * hours + _START_S
    return min(ends[0], limit), min(ends[1], limit)


def estimate_final(final: TrialCost, *, rounds: int) -> tuple[float, float]:
    """Lower and upper end of the seconds of the final trainings. rounds: of them that follow one another."""
    seconds = rounds * final.total_s
    return seconds / SPREAD + _START_S, seconds * SPREAD + _START_S


def _together(compute_s: float, view_s: float, rates: Rates) -> float:
    """On a GPU the cores prepare photos meanwhile; otherwise the same cores do both."""
    return max(compute_s, view_s) if rates.machine.gpu else compute_s + view_s


def _features(config: TrainConfig, stage: int, epoch_s: float) -> list[tuple[str, float]]:
    """(name, seconds) of each set of features that a frozen stage computes."""
    # Mixed photos, for example, are no views: every trial computes its own.
    is_shared = views_can_be_shared(config)
    owner = "" if is_shared else f"seed {config.seed} {config.stages[stage].learning_rate:g} "
    return [
        (f"{owner}view {view} {_features_key(config, stage)}", epoch_s) for view in range(feature_passes(config, stage))
    ]


def _features_key(config: TrainConfig, stage: int) -> str:
    model = f"{config.backbone} {config.alpha:g} {config.weights}"
    return f"{model} {size_name(config.stage_size(stage))} {config.augment.policy} {config.augment.erase:g}"


def _search_s(
    trials: Sequence[TrialCost], count: int, scheduler: SchedulerConfig, finalists: FinalistSettings
) -> float:
    """Seconds over all workers."""
    shared: dict[str, float] = {}
    for trial in trials[:count]:
        shared.update(trial.shared_s)
    stages = max(len(trial.stages_s) for trial in trials)
    seconds = sum(shared.values())
    for stage in range(stages):
        here = [trial.stages_s[stage] for trial in trials if len(trial.stages_s) > stage]
        seconds += _reaching(stage, count, scheduler) * len(here) / len(trials) * fmean(here)
    repeats = (finalists.count + 1) * finalists.seeds if finalists.count else 0
    return seconds + repeats * fmean(sum(trial.stages_s) for trial in trials)


def _reaching(stage: int, count: int, scheduler: SchedulerConfig) -> float:
    """Trials that train a stage: the baseline always does."""
    if scheduler.kind == "none":
        return float(count)
    rungs = max(0, stage - (scheduler.first_rung - 1))
    return max(1.0, count / scheduler.reduction_factor**rungs)
