"""Gradient accumulation: one optimizer step per batch, whose gradient is summed over its parts."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from carcls.training.steps.micro_batches import Accumulation


class GradientAccumulator(keras.optimizers.Optimizer):
    """Wraps an optimizer. Keras calls it for each part of a batch; the inner optimizer steps once per batch.

    Each part's gradient is that of its mean loss, including weight penalties, which are the same for all parts.
    Weighted by the part's share they add up to the gradient of the whole batch. Iterations, learning rate, decay,
    clipping and loss scaling belong to the inner optimizer, so they count whole batches, and a checkpoint needs only
    its variables: nothing is accumulated between epochs.

    Keras's own `gradient_accumulation_steps` weights parts of any size equally, counts each as an iteration, and cannot
    handle a last batch with fewer parts.
    """

    def __init__(self, inner: keras.optimizers.Optimizer, cut: Accumulation) -> None:
        super().__init__(learning_rate=0.0, name="accumulating")
        self.inner_optimizer = inner
        self._shares = cut.table("share").astype(np.float32)
        self._firsts = cut.table("is_first")
        self._lasts = cut.table("is_last")

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the variables, including those of the inner optimizer."""
        super().build(variables)
        self.inner_optimizer.build(variables)
        self._step = self.add_variable(shape=(), dtype="int32", name="part")
        self._sums = [self.add_variable_from_reference(variable, name="sum") for variable in variables]

    @property
    def variables(self) -> list[keras.Variable]:
        """The inner optimizer's first."""
        return [*self.inner_optimizer.variables, *self._variables]

    def begin_at(self, step: int) -> None:
        """The next part is number `step` of the epoch."""
        self._step.assign(step)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Applies one part's gradients: one per variable, or None."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        is_last = self._is_last()
        sums = self._gathered(grads, variables)
        # A graph operation, not a Python `if`: the part's number is only known when the traced step runs.
        keras.ops.cond(is_last, lambda: self.inner_optimizer.apply(sums, variables), lambda: None)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """The same for stateless backends (JAX). Returns (trainable values, optimizer values)."""
        inner_count = len(self.inner_optimizer.variables)
        inner_values, own_values = list(optimizer_variables[:inner_count]), optimizer_variables[inner_count:]
        trainable = list(trainable_variables)
        with keras.StatelessScope(state_mapping=list(zip(self._variables, own_values, strict=True))) as scope:
            is_last = self._is_last()
            sums = self._gathered(grads, self._trainable_variables)
        own_values = [scope.get_current_value(variable) for variable in self._variables]
        trained, inner_values = keras.ops.cond(
            is_last,
            lambda: self.inner_optimizer.stateless_apply(inner_values, sums, trainable),
            lambda: (trainable, inner_values),
        )
        return list(trained), [*inner_values, *own_values]

    def _is_last(self) -> Any:  # noqa: ANN401 (a tensor of any backend)
        return keras.ops.take(keras.ops.convert_to_tensor(self._lasts), keras.ops.convert_to_tensor(self._step))

    def _gathered(self, grads: Sequence[Any], variables: Sequence[keras.Variable]) -> list[Any]:
        """The batch's gradients so far, including this part's. Advances to the next part."""
        step = keras.ops.convert_to_tensor(self._step)
        share = keras.ops.take(keras.ops.convert_to_tensor(self._shares), step)
        is_first = keras.ops.take(keras.ops.convert_to_tensor(self._firsts), step)
        sums: list[Any] = []
        for grad, variable in zip(grads, variables, strict=True):
            if grad is None:
                sums.append(None)
                continue
            kept = self._sums[self._get_variable_index(variable)]
            so_far = keras.ops.convert_to_tensor(kept)
            # Replaces instead of multiplying by zero: an infinite sum of the previous batch would become NaN.
            so_far = keras.ops.where(is_first, keras.ops.zeros_like(so_far), so_far)
            sums.append(so_far + keras.ops.cast(share, grad.dtype) * grad)
            kept.assign(sums[-1])
        self._step.assign((step + 1) % len(self._lasts))
        return sums

    def scale_loss(self, loss: Any) -> Any:  # noqa: ANN401 (as above)
        """Scales the loss as the inner optimizer does."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def iterations(self) -> keras.Variable:
        """Number of whole batches so far."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:  # noqa: ANN401 (as above)
        """The inner optimizer's learning rate."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float) -> None:
        self.inner_optimizer.learning_rate = learning_rate


def wrapped_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer to save in a checkpoint: the inner one if gradients are accumulated."""
    return optimizer.inner_optimizer if isinstance(optimizer, GradientAccumulator) else optimizer


def begin_at(optimizer: keras.optimizers.Optimizer, step: int) -> None:
    """Tells an optimizer that accumulates gradients which step of its epoch is next: the first part of a batch."""
    if isinstance(optimizer, GradientAccumulator):
        optimizer.begin_at(step)


def accumulate_gradients(
    optimizer: keras.optimizers.Optimizer, cut: Accumulation, dtype_policy: str
) -> keras.optimizers.Optimizer:
    """Wraps `optimizer` for a model of this dtype policy that is trained on parts of batches.

    With float16, loss scaling goes inside the wrapper, not around it as `compile` would do: if a part overflows, the
    step of its whole batch is skipped, and counting of parts continues.
    """
    inner = keras.optimizers.LossScaleOptimizer(optimizer) if dtype_policy == "mixed_float16" else optimizer
    return GradientAccumulator(inner, cut)
