"""Trains an epoch by one call of `fit`, or by several between which its state is saved."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.errors import PartError
from carcls.events import PhaseSeconds
from carcls.training.steps.micro_batches import Accumulation

_NO_SECONDS = PhaseSeconds(0.0, 0.0)


@dataclass(frozen=True)
class BegunEpoch:
    """What is done of an epoch. Model, optimizer and random layers have the state that belongs to it."""

    batches: int = 0
    """Whole batches that have been trained."""
    metrics: tuple[NDArray[Any], ...] = ()
    """Values of Keras's running metrics after them."""
    spent: PhaseSeconds = _NO_SECONDS
    """Seconds spent on them, by all attempts."""


NOT_BEGUN = BegunEpoch()


def _never() -> bool:
    return False


@dataclass
class Pauses:
    """When an epoch is saved in its middle: regularly, and when the training is asked to go on elsewhere."""

    every_s: float | None = None
    """None: only when asked."""
    asked: Callable[[], bool] = _never
    """True once the training should be saved and end. Asked before steps, so it must be quick."""
    clock_s: Callable[[], float] = time.monotonic
    _since_s: float = field(default=0.0, init=False)

    def begin(self) -> None:
        """Counts from now on: an epoch begins, or its state was saved."""
        self._since_s = self.clock_s()

    def is_due(self) -> bool:
        """True if the state should be saved after the next batch."""
        return self.asked() or (self.every_s is not None and self.clock_s() - self._since_s >= self.every_s)


def _not_saved(begun: BegunEpoch, batches: int) -> None:
    """Without pauses, nothing is saved."""


@dataclass(frozen=True)
class Parts:
    """How the next epoch is trained in parts."""

    pauses: Pauses
    save: Callable[[BegunEpoch, int], None]
    """Writes the state within the epoch, given what is done of it and the number of its batches. May raise OSError."""
    begun: BegunEpoch = NOT_BEGUN

    def adding(self, spent: PhaseSeconds) -> "Parts":
        """With seconds that this attempt has spent on the epoch before its first step."""
        return replace(self, begun=replace(self.begun, spent=self.begun.spent + spent))


IN_ONE_PART = Parts(Pauses(), _not_saved)


class RestOfEpoch(keras.utils.PyDataset):
    """The steps of an epoch from `first` on."""

    def __init__(self, steps: keras.utils.PyDataset, first: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._steps = steps
        self._first = first

    def __len__(self) -> int:
        return len(self._steps) - self._first

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401 - what the dataset holds
        return self._steps[self._first + number]


class PauseCallback(keras.callbacks.Callback):
    """Ends a call of `fit` after a whole batch once a pause is due, and gives a later call its running metrics.

    It has no part in the ends of steps, which Keras may report late and in another thread.
    """

    def __init__(
        self,
        trained: keras.Model,
        first: int,
        ends: NDArray[np.bool_],
        is_due: Callable[[], bool],
        *,
        running: Sequence[keras.Variable],
        metrics: Sequence[NDArray[Any]],
    ) -> None:
        """first: number of the first step within the epoch. ends: for each step of the epoch, whether it completes a
        batch. running: variables of the running metrics. metrics: their values at the start; empty to begin at zero."""
        super().__init__()
        self._trained = trained
        self._first = first
        self._ends = ends
        self._is_due = is_due
        self._running = running
        self._metrics = metrics
        self.steps = len(ends)
        """Steps of the epoch that are done after the call."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ANN401 - Keras's own
        """Called by Keras once it has set the metrics to zero."""
        if self._metrics:
            restore_metrics(self._running, self._metrics)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401 - Keras's own
        """Called by Keras before each step, in the training's own thread. Keras looks at the flag after the step."""
        done = self._first + batch + 1
        if done < len(self._ends) and self._ends[done - 1] and self._is_due():
            self.steps = done
            self._trained.stop_training = True


def step_ends(cut: Accumulation | None, batches: int) -> NDArray[np.bool_]:
    """For each step of an epoch, whether it completes a batch."""
    return np.ones(batches, bool) if cut is None else cut.table("is_last").astype(bool)


def batches_done(ends: NDArray[np.bool_], steps: int) -> int:
    """Number of whole batches after so many steps."""
    return int(ends[:steps].sum())


def steps_before(ends: NDArray[np.bool_], batches: int) -> int:
    """Number of steps of the first `batches` batches. Raises PartError if the epoch has fewer."""
    if batches == 0:
        return 0
    places = np.flatnonzero(ends)
    if batches >= len(places):
        raise PartError(f"{batches} batches of an epoch of {len(places)} are done: start it again")
    return int(places[batches - 1]) + 1


def running_metrics(trained: keras.Model, compiled: keras.metrics.Metric) -> list[keras.Variable]:
    """All variables of a model's running metrics, right after `compile`. compiled: the metric that it was given, whose
    variables Keras counts as the model's only after the first step."""
    return [*trained.metrics_variables, *compiled.variables]


def metric_values(variables: Sequence[keras.Variable]) -> tuple[NDArray[Any], ...]:
    """Values of running metrics."""
    return tuple(np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables)


def restore_metrics(variables: Sequence[keras.Variable], values: Sequence[NDArray[Any]]) -> None:
    """Inverse of `metric_values`. Raises PartError if the model has other metrics."""
    if [tuple(one.shape) for one in variables] != [value.shape for value in values]:
        raise PartError(
            f"a part of an epoch has {len(values)} values of running metrics, expected {len(variables)}: delete the"
            " trial's files part-*.npz to start that epoch again"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
