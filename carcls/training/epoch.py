"""Runs one epoch: trains, validates, scores the holdout if there is one, and measures the time of each phase."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.errors import HandedOverError
from carcls.events import PhaseSeconds, StoreUse
from carcls.input.prefetch import EpochBatches
from carcls.scoring import metrics
from carcls.scoring.choices import Scaled, scaled
from carcls.scoring.evidence import Evidence, as_evidence
from carcls.splits.split import Split
from carcls.store import take_use
from carcls.training.epoch_parts import IN_ONE_PART, BegunEpoch, Parts
from carcls.training.learner import Learner
from carcls.training.position import Position, Scores
from carcls.training.stage_errors import check_finite
from carcls.training.stage_input import StageInput
from carcls.training.stage_training import Trained

_NO_SCORES = Scores(log_loss=float("nan"), accuracy=float("nan"), macro_f1=float("nan"))
"""Of an epoch without validation photos."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Results of one epoch."""

    trained: Trained
    scores: Scores
    """Scores on validation photos."""
    holdout: Scores | None
    """Scores on holdout photos, only for reports; no decision may use them. None without a holdout."""
    seconds: PhaseSeconds
    store: StoreUse
    """By all threads of this process since the previous epoch."""
    trainable_parameters: int
    evidence: Evidence
    scaled: Scaled | None
    """Temperature-scaled validation losses, by which weights are compared; None without validation photos."""


def run_epoch(
    config: TrainConfig,
    learner: Learner,
    photos: StageInput,
    split: Split,
    position: Position,
    *,
    build_s: float,
    parts: Parts = IN_ONE_PART,
) -> Epoch:
    """Trains, validates and scores the epoch after `position`. `split` is the split of `photos`. Without validation
    photos their scores are NaN.

    build_s: seconds that the learner took to enter the stage, or 0 after its first epoch. parts: what is done of the
    epoch, and when it is saved in its middle. Raises DivergedError, and HandedOverError once it is saved because it was
    asked for.
    """
    clock = _Laps()
    batches = photos.training(position.epoch)
    store_s = clock.lap()
    before = PhaseSeconds(0.0, 0.0, build=build_s, store=store_s)
    trained, spent = _trained(learner, batches, position, parts.adding(before), is_first=bool(build_s))
    batches.close()
    store_s = 0.0
    clock.lap()
    check_finite(trained.loss, "training loss", config, position)
    if len(split.validation):
        validation = photos.validation()
        store_s += clock.lap()
        with learner.stage.scored_weights():
            probabilities = learner.probabilities(validation)
        scores = score(probabilities, split.validation.labels)
        check_finite(scores.log_loss, "validation log-loss", config, position)
    else:
        probabilities, scores = np.zeros((0, len(split.class_names)), np.float32), _NO_SCORES
    compared = scaled(probabilities, split.validation.labels) if len(probabilities) else None
    validate_s = clock.lap()
    with learner.stage.scored_weights():
        held_out, evidence = _scored_holdout(
            learner, photos, split, as_evidence(probabilities, split.validation.labels)
        )
    if learner.stage.averages is not None and _is_last(config, position):
        evidence = replace(evidence, averages=dict(_averaged(learner, photos, split)))
    seconds = spent + PhaseSeconds(0.0, validate_s, store=store_s, holdout=0.0 if held_out is None else clock.lap())
    return Epoch(trained, scores, held_out, seconds, take_use(), learner.stage.trainable_parameters, evidence, compared)


def _trained(
    learner: Learner, batches: EpochBatches, position: Position, parts: Parts, *, is_first: bool
) -> tuple[Trained, PhaseSeconds]:
    """Trains on the batches, or on the rest of a begun epoch, and saves its state at each pause. Returns the seconds
    of the whole epoch so far.

    is_first: whether the first step traces the model. Raises HandedOverError after a pause that was asked for.
    """
    begun, pauses = parts.begun, parts.pauses
    while True:
        pauses.begin()
        clock = _Laps()
        with batches.own_errors():
            trained = learner.stage.train_epoch(batches, position.log_losses, begun, pauses.is_due)
        steps = trained.clock.steps
        wait_s = waited_s(trained.clock.started_s, steps, trained.ready_s)
        trace_s = traced_s(steps, trained.ready_s) if is_first else 0.0
        train_s = clock.lap() - wait_s - trace_s
        spent = begun.spent + PhaseSeconds(train_s, 0.0, trace=trace_s, data_wait=wait_s)
        begun, is_first = BegunEpoch(trained.batches, trained.metrics, spent), False
        if trained.batches == len(batches):
            return trained, spent
        parts.save(begun, len(batches))
        if pauses.asked():
            done = f"{trained.batches} of {len(batches)} batches of epoch {position.epoch + 1}"
            raise HandedOverError(f"saved after {done}, to go on elsewhere")


def _scored_holdout(
    learner: Learner, photos: StageInput, split: Split, validation: NDArray[np.float16]
) -> tuple[Scores | None, Evidence]:
    if split.holdout is None:
        return None, Evidence(validation)
    probabilities = learner.probabilities(photos.holdout())
    return score(probabilities, split.holdout.labels), Evidence(
        validation, as_evidence(probabilities, split.holdout.labels)
    )


def _is_last(config: TrainConfig, position: Position) -> bool:
    """True if the next epoch after `position` is the training's last planned one."""
    return position.epoch + 1 == config.total_epochs


def _averaged(learner: Learner, photos: StageInput, split: Split) -> Iterator[tuple[str, Evidence]]:
    """Evidence of the same photos for each average of the stage's weights."""
    for name, weights in learner.stage.averages.by_name().items() if learner.stage.averages else ():
        with learner.averaged(weights):
            validation = as_evidence(learner.probabilities(photos.validation()), split.validation.labels)
            yield name, _scored_holdout(learner, photos, split, validation)[1]


def score(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Scores:
    """Scores of probabilities (n, classes) for labels (n,). The log-loss is NaN if a probability is not finite."""
    if not np.isfinite(probabilities).all():
        return Scores(log_loss=float("nan"), accuracy=0.0, macro_f1=0.0)
    return Scores(
        log_loss=float(metrics.log_loss(probabilities, labels)),
        accuracy=float(metrics.accuracy(probabilities, labels)),
        macro_f1=float(metrics.macro_f1(probabilities, labels)),
    )


def waited_s(started_s: float, steps: Sequence[tuple[float, float]], ready_s: Mapping[int, float]) -> float:
    """Seconds spent waiting for batches: before the first step, and at the start of each step.

    steps: (begin, end) of each step; it begins when the previous one ends and includes the wait for its batch.
    ready_s: step number -> time at which its batch was prepared.
    """
    return (steps[0][0] - started_s) + sum(_late_s(step, ready_s.get(n, 0.0)) for n, step in enumerate(steps))


def traced_s(steps: Sequence[tuple[float, float]], ready_s: Mapping[int, float]) -> float:
    """How much longer the first step took than the median of the others, without waiting; 0 if it is the only one."""
    computing = [end - begin - _late_s((begin, end), ready_s.get(n, 0.0)) for n, (begin, end) in enumerate(steps)]
    return max(0.0, computing[0] - statistics.median(computing[1:])) if computing[1:] else 0.0


def _late_s(step: tuple[float, float], ready_s: float) -> float:
    begin, end = step
    return max(0.0, min(ready_s, end) - begin)


class _Laps:
    """Measures seconds since the previous lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before
