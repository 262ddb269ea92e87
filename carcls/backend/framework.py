"""Keras with the settings that carsearch relies on, regardless of this machine's keras.json.

Every module that may be the first to need Keras imports this one first. Raises FrameworkError if Keras or its backend
cannot be imported.
"""

import os
import sys
from pathlib import Path

from carcls.errors import FrameworkError

__all__ = ["BACKENDS", "keras"]

BACKENDS = ("tensorflow", "jax")
_ADVICE = f"set KERAS_BACKEND to {BACKENDS[0]}, or to {BACKENDS[1]} if that is installed"


def _settings_file() -> Path:
    """Path of keras.json. Repeats Keras's own rule, since Keras may have failed to import."""
    home = os.environ.get("KERAS_HOME")
    if home is not None:
        return Path(os.path.expanduser(home)) / "keras.json"  # noqa: PTH111 - as in Keras, which never raises
    user = os.path.expanduser("~")  # noqa: PTH111 - the same
    return Path(user if os.access(user, os.W_OK) else "/tmp") / ".keras" / "keras.json"  # noqa: S108 - Keras's choice


def _chosen_by() -> str:
    """Clause that says which backend was requested and where, or an empty string."""
    read = sys.modules.get("keras.src.backend.config")  # still loaded if only the backend failed
    backend = f"backend {read.backend()!r}, " if read is not None else ""
    if os.environ.get("KERAS_BACKEND"):
        return f" ({backend}by the environment's KERAS_BACKEND)"
    file = _settings_file()
    return f" ({backend}by {file})" if file.exists() else ""


try:
    import keras
except Exception as error:  # Keras and its backends raise ValueError, AttributeError, OSError and more
    lines = str(error).strip().splitlines() or [""]
    raise FrameworkError(
        f"Keras cannot be loaded: {type(error).__name__}: {lines[-1]}{_chosen_by()}: {_ADVICE}, or fix what it names"
    ) from error

if keras.backend.backend() not in BACKENDS:
    raise FrameworkError(f"Keras has a backend that carsearch does not support{_chosen_by()}: {_ADVICE}")

keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
# KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH would cut every stage and every epoch short.
keras.config.set_max_epochs(None)
keras.config.set_max_steps_per_epoch(None)
