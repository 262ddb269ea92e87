"""Keras with the settings that carsearch relies on, whatever this machine's keras.json says.

Each module that may be the first to need Keras imports this one before it. Raises FrameworkError where Keras or its
backend cannot be imported.
"""

import os
import sys
from pathlib import Path

from carcls.errors import FrameworkError

__all__ = ["BACKENDS", "keras"]

BACKENDS = ("tensorflow", "jax")
_ADVICE = f"set KERAS_BACKEND to {BACKENDS[0]}, or to {BACKENDS[1]} where that is installed"


def _settings_file() -> Path:
    """Where Keras looks for it; asked of Keras only by those who have it."""
    home = os.environ.get("KERAS_HOME")
    if home is not None:
        return Path(os.path.expanduser(home)) / "keras.json"  # noqa: PTH111 - as Keras has it, which never raises
    user = os.path.expanduser("~")  # noqa: PTH111 - the same
    return Path(user if os.access(user, os.W_OK) else "/tmp") / ".keras" / "keras.json"  # noqa: S108 - Keras's choice


def _chosen_by() -> str:
    """Which backend was asked for, and where, as a clause; empty where nothing says."""
    read = sys.modules.get("keras.src.backend.config")  # left there where only the backend failed
    backend = f"backend {read.backend()!r}, " if read is not None else ""
    if os.environ.get("KERAS_BACKEND"):
        return f" ({backend}by the environment's KERAS_BACKEND)"
    file = _settings_file()
    return f" ({backend}by {file})" if file.exists() else ""


try:
    import keras
except Exception as error:  # Keras and its backends raise nearly anything: ValueError, AttributeError, OSError
    lines = str(error).strip().splitlines() or [""]
    raise FrameworkError(
        f"Keras cannot be loaded: {type(error).__name__}: {lines[-1]}{_chosen_by()}: {_ADVICE}, or mend what it names"
    ) from error

if keras.backend.backend() not in BACKENDS:
    raise FrameworkError(f"Keras has a backend that carsearch does not train on{_chosen_by()}: {_ADVICE}")

keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
# KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH would end each stage, and each epoch, before its time.
keras.config.set_max_epochs(None)
keras.config.set_max_steps_per_epoch(None)
