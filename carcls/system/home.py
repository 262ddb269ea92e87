"""The user's home folder, which may be missing in containers."""

import os
from pathlib import Path

from carcls.errors import HomeError


def home_folder() -> Path:
    """Absolute path. Raises HomeError if neither HOME nor the passwd database names it."""
    try:
        return Path.home().absolute()
    except RuntimeError as error:
        raise HomeError(
            f"no home folder is known: HOME is not set, and user id {os.getuid()} has no entry in the system's passwd:"
            " set HOME to a folder that you may write to"
        ) from error
