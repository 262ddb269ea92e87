"""Tracks backbone weights that have not changed since the start. Checkpoints omit them and store their digests instead.

A weight may have changed if its layer was ever trainable, since a frozen layer never changes. The digests ensure that a
checkpoint is only completed with the values that were in use when it was written.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from numpy.typing import NDArray

from carcls.errors import CheckpointError
from carcls.models.classifier import Classifier
from carcls.training.checkpoint import model_variables, restore_variables, variable_arrays

_NAMED = 3
"""Maximum number of variables listed in an error."""

Omitted = Mapping[str, str]
"""Checkpoint key -> digest of each variable that a checkpoint omits."""

NOTHING_OMITTED: Omitted = MappingProxyType({})
"""For a complete checkpoint."""


class InitialWeights:
    """The backbone's initial weights, and which of them may have changed since. Not thread-safe."""

    def __init__(self, classifier: Classifier) -> None:
        """classifier: freshly built, before anything is trained or restored."""
        own = {id(variable) for variable in classifier.backbone.weights}
        named = {key: one for key, one in model_variables(classifier.model).items() if id(one) in own}
        self._digests = {key: _digest(variable_arrays({key: one})[key]) for key, one in named.items()}
        self._changed: set[str] = set()

    @property
    def unchanged(self) -> Omitted:
        """Weights that have not changed."""
        return {key: digest for key, digest in self._digests.items() if key not in self._changed}

    @property
    def all_unchanged(self) -> bool:
        """True if no weight of the backbone was ever trainable or restored."""
        return not self._changed

    def note_trainable(self, layers: Iterable[keras.Layer]) -> None:
        """Notes that all weights of those layers that are trainable may change from now on, including statistics."""
        trainable = (layer for layer in layers if layer.trainable)
        self._note_changed(f"model/{variable.path}" for layer in trainable for variable in layer.weights)

    def restore(
        self, variables: Mapping[str, keras.Variable], arrays: Mapping[str, NDArray[Any]], left_out: Omitted | None
    ) -> None:
        """Restores a freshly built model from a checkpoint. Omitted variables keep their initial values.

        left_out: omitted variables, or None for an older checkpoint that omits the whole backbone without listing it.
        Raises CheckpointError if an omitted variable had other initial values when the checkpoint was written, or if
        anything else is missing or does not fit.
        """
        left_out = self._digests if left_out is None else left_out
        wrong = sorted(key for key, digest in left_out.items() if self._digests.get(key) != digest)
        if wrong:
            more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise CheckpointError(
                f"this checkpoint omits initial weights that have changed since it was written:"
                f" {', '.join(wrong[:_NAMED])}{more}; restore the original weights file or Keras version, or start a"
                " new training"
            )
        restore_variables({key: one for key, one in variables.items() if key not in left_out}, arrays)
        self._note_changed(variables.keys() - left_out.keys())

    def _note_changed(self, keys: Iterable[str]) -> None:
        self._changed.update(key for key in keys if key in self._digests)


def read_omitted(meta: Mapping[str, Any]) -> tuple[str | None, Omitted | None]:
    """Identity of the weights that complete a checkpoint, and the omitted variables; (None, {}) if it is complete.

    Older checkpoints name a backbone and omit all of it or nothing. Raises CheckpointError for invalid values.
    """
    if "left_out" not in meta:
        backbone = meta.get("backbone")
        return backbone, NOTHING_OMITTED if backbone is None else None
    weights, left_out = meta.get("weights"), meta["left_out"]
    is_table = isinstance(left_out, dict) and all(isinstance(digest, str) for digest in left_out.values())
    if not is_table or (weights is None and left_out) or not isinstance(weights, str | None):
        raise CheckpointError(
            f"invalid list of omitted variables: {str(left_out)[:80]} of {weights!r}; expected digests by variable and"
            " the identity of their weights: resume from an earlier checkpoint or start again"
        )
    return weights, left_out


def _digest(array: NDArray[Any]) -> str:
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
