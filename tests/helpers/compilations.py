"""Counts the programs that the backend compiles for training and prediction, by the backend's own counters."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

_JAX_EVENT = "/jax/core/compile/backend_compile_duration"
_TRAINING, _PREDICTION = ("train_step", "one_step_on_data"), ("predict_step", "one_step_on_data_distributed")
"""Names of Keras's functions: JAX's, and TensorFlow's outermost ones without XLA."""


@dataclass
class Compilations:
    """What was compiled within the block: one name for each program on JAX, for each trace on TensorFlow."""

    names: list[str] = field(default_factory=list)
    functions: list[Any] = field(default_factory=list)
    """TensorFlow's functions."""

    @property
    def training(self) -> int:
        """Number of compiled training steps."""
        return self._count(_TRAINING)

    @property
    def prediction(self) -> int:
        """Number of compiled predictions."""
        return self._count(_PREDICTION)

    def _count(self, names: tuple[str, ...]) -> int:
        traced = sum(
            function.experimental_get_tracing_count()
            for function in self.functions
            if function.python_function.__name__ in names
        )
        return traced + sum(any(one in name for one in names) for name in self.names)


@contextmanager
def counted_compilations() -> Iterator[Compilations]:
    """Counts models whose functions are made within the block. No other thread may compile meanwhile."""
    found = Compilations()
    if keras.backend.backend() == "jax":
        import jax

        is_open = True

        def note(event: str, seconds: float, fun_name: str = "", **_: Any) -> None:
            if is_open and event == _JAX_EVENT:
                found.names.append(fun_name)

        jax.monitoring.register_event_duration_secs_listener(note)
        try:
            yield found
        finally:
            is_open = False  # JAX has no public way to remove one listener
    else:
        import tensorflow as tf

        function = tf.function

        def noted(body: Any = None, **options: Any) -> Any:
            made = function(body, **options)
            if body is not None:
                found.functions.append(made)
            return made

        tf.function = noted
        try:
            yield found
        finally:
            tf.function = function
