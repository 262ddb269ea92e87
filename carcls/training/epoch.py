"""One epoch: trained, validated, scored on the holdout where there is one, and its seconds shared out."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.events import PhaseSeconds, StoreUse
from carcls.scoring import metrics
from carcls.scoring.choices import Scaled, scaled
from carcls.scoring.evidence import Evidence, as_evidence
from carcls.splits.split import Split
from carcls.store import take_use
from carcls.training.error_messages import check_finite
from carcls.training.inputs import StageInput
from carcls.training.learner import Learner, Trained
from carcls.training.position import Position, Scores


@dataclass(frozen=True, slots=True)
class Epoch:
    """What came of one epoch, before anything followed from it."""

    trained: Trained
    scores: Scores
    """On validation."""
    holdout: Scores | None
    """On the holdout photos, for reports alone; no choice may use them. None without a holdout."""
    seconds: PhaseSeconds
    store: StoreUse
    """Since the epoch before, by all threads of this process."""
    trainable_parameters: int
    evidence: Evidence
    scaled: Scaled
    """What weights are compared by."""


def run_epoch(
    config: TrainConfig,
    learner: Learner,
    photos: StageInput,
    split: Split,
    position: Position,
    *,
    build_s: float,
) -> Epoch:
    """Train, validate and score the epoch after `position`; `split` is the one that `photos` shows.

    build_s: seconds that the learner took to enter the stage, 0 where it was in it already. Raises DivergedError.
    """
    clock = _Laps()
    batches = photos.training(position.epoch)
    store_s = clock.lap()
    with batches.own_errors():
        trained = learner.train_epoch(batches, position.log_losses)
    batches.close()
    training_s = clock.lap()
    check_finite(trained.loss, "training loss", config, position)
    validation = photos.validation()
    store_s += clock.lap()
    probabilities = learner.probabilities(validation)
    scores = score(probabilities, split.validation.labels)
    check_finite(scores.log_loss, "validation log-loss", config, position)
    wait_s = waited_s(trained.clock.started_s, trained.clock.steps, trained.ready_s)
    trace_s = traced_s(trained.clock.steps, trained.ready_s) if build_s else 0.0
    compared = scaled(probabilities, split.validation.labels)
    validate_s = clock.lap()
    held_out, evidence = _scored_holdout(learner, photos, split, as_evidence(probabilities, split.validation.labels))
    if learner.averages is not None and _is_last(config, position):
        evidence = replace(evidence, averages=dict(_averaged(learner, photos, split)))
    seconds = PhaseSeconds(
        train=training_s - wait_s - trace_s,
        validate=validate_s,
        build=build_s,
        trace=trace_s,
        store=store_s,
        data_wait=wait_s,
        holdout=0.0 if held_out is None else clock.lap(),
    )
    return Epoch(trained, scores, held_out, seconds, take_use(), learner.trainable_parameters, evidence, compared)


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
    """True of the training's last epoch as planned; `position` is the one before it."""
    return position.epoch + 1 == config.total_epochs


def _averaged(learner: Learner, photos: StageInput, split: Split) -> Iterator[tuple[str, Evidence]]:
    """What each average of the stage's weights says of the same photos."""
    for name, weights in learner.averages.by_name().items() if learner.averages else ():
        with learner.averaged(weights):
            validation = as_evidence(learner.probabilities(photos.validation()), split.validation.labels)
            yield name, _scored_holdout(learner, photos, split, validation)[1]


def score(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Scores:
    """Scores of (n, classes) against (n,); a log-loss of NaN where a probability is not finite."""
    if not np.isfinite(probabilities).all():
        return Scores(log_loss=float("nan"), accuracy=0.0, macro_f1=0.0)
    return Scores(
        log_loss=float(metrics.log_loss(probabilities, labels)),
        accuracy=float(metrics.accuracy(probabilities, labels)),
        macro_f1=float(metrics.macro_f1(probabilities, labels)),
    )


def waited_s(started_s: float, steps: Sequence[tuple[float, float]], ready_s: Mapping[int, float]) -> float:
    """Seconds in which no step could run because its batch was not there: before the first step, and between steps.

    steps: (begin, end) of each; a step begins where the one before ends, and waits for its batch by itself.
    ready_s: when the photos of the step of that number were prepared.
    """
    return (steps[0][0] - started_s) + sum(_late_s(step, ready_s.get(n, 0.0)) for n, step in enumerate(steps))


def traced_s(steps: Sequence[tuple[float, float]], ready_s: Mapping[int, float]) -> float:
    """How much longer the first step took than the others' median, waiting left out; 0 where there is no other."""
    computing = [end - begin - _late_s((begin, end), ready_s.get(n, 0.0)) for n, (begin, end) in enumerate(steps)]
    return max(0.0, computing[0] - statistics.median(computing[1:])) if computing[1:] else 0.0


def _late_s(step: tuple[float, float], ready_s: float) -> float:
    begin, end = step
    return max(0.0, min(ready_s, end) - begin)


class _Laps:
    """Seconds since the lap before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before
