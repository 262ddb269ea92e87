"""The clock of steps: what it makes of times that arrive late, and that the training does not wait for it."""

import threading

import keras
import numpy as np
import pytest

from carcls.training.epoch import traced_s, waited_s
from carcls.training.steps import step_clock
from carcls.training.steps.step_clock import StepClock


@pytest.fixture
def clock(monkeypatch) -> StepClock:
    """A clock whose time a test sets, by `clock.now_s`."""
    clock = StepClock()
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: clock.now_s)
    return clock


def run(clock: StepClock, events: list[tuple[float, str, int]]) -> None:
    for clock.now_s, what, number in events:
        (clock.on_train_batch_begin if what == "begin" else clock.on_train_batch_end)(number)


def test_a_step_begins_when_the_device_has_ended_the_one_before(clock):
    """The first two are started at once, the third only after the host was busy."""
    run(
        clock,
        [(1, "begin", 0), (1.5, "begin", 1), (9, "end", 0), (10, "end", 1), (10.5, "begin", 2), (12, "end", 2)],
    )
    assert clock.steps == [(1, 9), (9, 10), (10.5, 12)]
    ready = {0: 2.0, 1: 2.0, 2: 11.0}
    assert waited_s(0.0, clock.steps, ready) == pytest.approx(1 + 1 + 0.5)
    assert traced_s(clock.steps, ready) == pytest.approx(7 - 1)


def test_two_ends_that_are_reported_in_the_wrong_order(clock):
    run(clock, [(1, "begin", 0), (1, "begin", 1), (3, "end", 1), (4, "end", 0)])
    assert clock.steps == [(1, 4), (4, 4)]


def test_a_few_steps_may_start_before_the_first_has_ended(clock, monkeypatch):
    clock.now_s = 0.0
    for number in range(3):
        clock.on_train_batch_begin(number)
    fourth = threading.Thread(target=clock.on_train_batch_begin, args=(3,), daemon=True)
    fourth.start()
    fourth.join(timeout=0.2)
    assert fourth.is_alive(), "its batch would need another buffer"
    clock.on_train_batch_end(0)
    fourth.join(timeout=5)
    assert not fourth.is_alive()
    monkeypatch.setattr(step_clock, "_PATIENCE_S", 0.01)
    clock.on_train_batch_begin(4)  # a step that failed never ends, and its error comes with the next one


class Noted(StepClock):
    """Notes the threads that fetch the results of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def on_train_batch_end(self, batch, logs=None):
        self.threads.append(threading.current_thread())
        super().on_train_batch_end(batch, logs)


class WaitedFor(Noted):
    """As callbacks of Keras are, unless they say otherwise."""

    async_safe = False


@pytest.mark.parametrize("kind", [Noted, WaitedFor])
def test_on_jax_the_training_does_not_fetch_the_results_of_each_step(kind):
    """On TensorFlow Keras fetches them before it starts the next step, with or without callbacks."""
    waits = kind is WaitedFor or keras.backend.backend() == "tensorflow"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    clock = kind()
    model.fit(np.ones((6, 2)), np.ones((6, 1)), batch_size=1, verbose=0, callbacks=[clock])
    assert len(clock.steps) == 6
    assert [one is threading.main_thread() for one in clock.threads] == [waits] * 6
