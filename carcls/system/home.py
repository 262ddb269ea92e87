"""The user's home folder, which a container's user need not have."""

import os
from pathlib import Path

from carcls.errors import HomeError


def home_folder() -> Path:
    """Absolute. Raises HomeError where neither HOME nor the system's table of users tells it."""
    try:
        return Path.home().absolute()
    except RuntimeError as error:
        raise HomeError(
            f"no home folder is known: HOME is not set, and user id {os.getuid()} has no entry in the system's passwd:"
            " set HOME to a folder that you may write to"
        ) from error
