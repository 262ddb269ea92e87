"""Finds KerasHub's presets in kagglehub's folder, without Keras. Downloads nothing."""

import os
from pathlib import Path

from carcls.system.home import home_folder

WEIGHTS_NAME = "model.weights.h5"
"""A preset's weights of the backbone alone."""


def kagglehub_models() -> Path:
    """Where kagglehub keeps models: `models` in $KAGGLEHUB_CACHE, else in ~/.cache/kagglehub. Raises HomeError."""
    own = os.environ.get("KAGGLEHUB_CACHE")
    return (Path(own) if own else home_folder() / ".cache" / "kagglehub") / "models"


def newest_weights(preset: str, *, collection: str = "*") -> Path | None:
    """The weights file of a preset's newest version, or None. collection: the model on Kaggle that it belongs to.

    Raises HomeError.
    """
    versions = [
        path
        for path in kagglehub_models().glob(f"keras/{collection}/keras/{preset}/*/{WEIGHTS_NAME}")
        if path.parent.name.isdecimal() and path.is_file()
    ]
    return max(versions, key=lambda path: int(path.parent.name), default=None)
