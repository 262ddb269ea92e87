"""Variables that are as they were at the start: a checkpoint names them, by their content, and leaves them out.

Which they are follows from the layers that were ever trainable, for a frozen layer never changes; what they hold is
known by a digest, so that a checkpoint is never completed by other values than those that it was written beside.
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
"""Variables that an error lists."""

LeftOut = Mapping[str, str]
"""Checkpoint key -> digest of each variable that a checkpoint leaves out."""

NOTHING: LeftOut = MappingProxyType({})
"""What a checkpoint leaves out that holds everything."""


class InitialWeights:
    """The backbone's weights at the start of a training, and which of them may have changed since. Not thread-safe."""

    def __init__(self, classifier: Classifier) -> None:
        """classifier: as it was built, before anything is trained or restored."""
        own = {id(variable) for variable in classifier.backbone.weights}
        named = {key: one for key, one in model_variables(classifier.model).items() if id(one) in own}
        self._digests = {key: _digest(variable_arrays({key: one})[key]) for key, one in named.items()}
        self._changed: set[str] = set()

    @property
    def unchanged(self) -> LeftOut:
        """Those that are still what they were."""
        return {key: digest for key, digest in self._digests.items() if key not in self._changed}

    @property
    def all_unchanged(self) -> bool:
        """True as long as no weight of the backbone was ever trainable or restored."""
        return not self._changed

    def note_trainable(self, backbone: keras.Model) -> None:
        """From now on whatever is trainable there may change: with a layer's weights its statistics too."""
        trainable = (layer for layer in backbone.layers if layer.trainable)
        self._note_changed(f"model/{variable.path}" for layer in trainable for variable in layer.weights)

    def restore(
        self, variables: Mapping[str, keras.Variable], arrays: Mapping[str, NDArray[Any]], left_out: LeftOut | None
    ) -> None:
        """Fill a freshly built model from a checkpoint; what that left out stays as it was built.

        left_out: None for a checkpoint that names no variables, and leaves the whole backbone out. Raises
        CheckpointError where what was left out was built from other weights than when the checkpoint was written, or
        where anything else is missing or does not fit.
        """
        left_out = self._digests if left_out is None else left_out
        wrong = sorted(key for key, digest in left_out.items() if self._digests.get(key) != digest)
        if wrong:
            more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise CheckpointError(
                f"this checkpoint leaves out initial weights that are not what they were when it was written:"
                f" {', '.join(wrong[:_NAMED])}{more}; put the weights file or the version of Keras back as it was, or"
                " start a new training"
            )
        restore_variables({key: one for key, one in variables.items() if key not in left_out}, arrays)
        self._note_changed(variables.keys() - left_out.keys())

    def _note_changed(self, keys: Iterable[str]) -> None:
        self._changed.update(key for key in keys if key in self._digests)


def read_left_out(meta: Mapping[str, Any]) -> tuple[str | None, LeftOut | None]:
    """The weights that complete a checkpoint, by name, and what it leaves out; (None, {}) where it holds everything.

    Checkpoints from before variables were left out one by one name a backbone, and leave out all of it or nothing.
    Raises CheckpointError for anything else.
    """
    if "left_out" not in meta:
        backbone = meta.get("backbone")
        return backbone, NOTHING if backbone is None else None
    weights, left_out = meta.get("weights"), meta["left_out"]
    is_table = isinstance(left_out, dict) and all(isinstance(digest, str) for digest in left_out.values())
    if not is_table or (weights is None and left_out) or not isinstance(weights, str | None):
        raise CheckpointError(
            f"not what a checkpoint leaves out: {str(left_out)[:80]} of {weights!r}; expected digests by variable and"
            " the weights that they are of: resume from an earlier checkpoint or start anew"
        )
    return weights, left_out


def _digest(array: NDArray[Any]) -> str:
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
