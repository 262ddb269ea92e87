"""A model that predicts with the variables of a classifier, whichever of them the current stage trains."""

import keras


class Predictor(keras.Model):
    """Made from inputs and outputs, as a functional model. Compiled once, and then used by every stage of its size.

    On JAX trainable and other variables are separate arguments of a compiled prediction, so that another choice of
    layers to train would compile it again; on several devices Keras would even refuse the new arguments. All variables
    of this model count as fixed.
    """

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Empty: predictions train nothing."""
        return []

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All variables."""
        return list(self.variables)
