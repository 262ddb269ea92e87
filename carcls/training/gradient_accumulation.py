"""One optimizer step for each whole batch, whose gradient is gathered part by part."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from carcls.training.micro_batches import Accumulation


class Accumulating(keras.optimizers.Optimizer):
    """Keras applies it once for each part of a batch; the optimizer inside hears of whole batches alone.

    Each part's gradient is that of its mean loss (with penalties on weights, which all parts have alike); weighted by
    the part's share they add up to the whole batch's. Iterations, learning rate, decay, clipping and the scaling of a
    half-precision loss are those of the optimizer inside, so they count whole batches, and its variables are all that a
    checkpoint needs: between two epochs nothing is gathered. Keras's own `gradient_accumulation_steps` gives parts of
    any size equal weight, counts them as iterations, and knows no last batch of fewer parts.
    """

    def __init__(self, inner: keras.optimizers.Optimizer, cut: Accumulation) -> None:
        super().__init__(learning_rate=0.0, name="accumulating")
        self.inner_optimizer = inner
        self._shares = cut.table("share").astype(np.float32)
        self._firsts = cut.table("is_first")
        self._lasts = cut.table("is_last")

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the variables, those of the optimizer inside too."""
        super().build(variables)
        self.inner_optimizer.build(variables)
        self._step = self.add_variable(shape=(), dtype="int32", name="part")
        self._sums = [self.add_variable_from_reference(variable, name="sum") for variable in variables]

    @property
    def variables(self) -> list[keras.Variable]:
        """The inner optimizer's first."""
        return [*self.inner_optimizer.variables, *self._variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """One part's gradients, one for each variable; None where a variable has none."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        is_last = self._is_last()
        sums = self._gathered(grads, variables)
        keras.ops.cond(is_last, lambda: self.inner_optimizer.apply(sums, variables), lambda: None)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """The same for backends without state (JAX): values in, (trainable values, optimizer values) out."""
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

    def _is_last(self) -> Any:  # noqa: ANN401 (tensors of whichever backend runs)
        return keras.ops.take(keras.ops.convert_to_tensor(self._lasts), keras.ops.convert_to_tensor(self._step))

    def _gathered(self, grads: Sequence[Any], variables: Sequence[keras.Variable]) -> list[Any]:
        """The batch's gradients so far, this part's included; moves on to the next part."""
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
            so_far = keras.ops.where(is_first, keras.ops.zeros_like(so_far), so_far)
            sums.append(so_far + keras.ops.cast(share, grad.dtype) * grad)
            kept.assign(sums[-1])
        self._step.assign((step + 1) % len(self._lasts))
        return sums

    def scale_loss(self, loss: Any) -> Any:  # noqa: ANN401 (as above)
        """As the optimizer inside would have it."""
        return self.inner_optimizer.scale_loss(loss)

    @property
    def iterations(self) -> keras.Variable:
        """Whole batches so far."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:  # noqa: ANN401 (as above)
        """That of the optimizer inside."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float) -> None:
        self.inner_optimizer.learning_rate = learning_rate


def counting_batches(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that a checkpoint keeps: the one inside, where batches are gathered from parts."""
    return optimizer.inner_optimizer if isinstance(optimizer, Accumulating) else optimizer


def accumulating(
    optimizer: keras.optimizers.Optimizer, cut: Accumulation, dtype_policy: str
) -> keras.optimizers.Optimizer:
    """`optimizer` for a model of this dtype policy, fed with parts.

    Where `compile` would scale the loss for float16, that scaling is put inside: a part that overflows then spoils its
    batch, whose step is left out whole, and the parts are counted on.
    """
    inner = keras.optimizers.LossScaleOptimizer(optimizer) if dtype_policy == "mixed_float16" else optimizer
    return Accumulating(inner, cut)
