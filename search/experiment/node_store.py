"""An experiment's `store` section -> the store of the node that asks."""

import os
from pathlib import Path

from carcls.store import Store, default_store_root
from search.experiment.settings import StoreSettings

_NOWHERE = Path(os.devnull)
"""Root of a store that is off."""


def open_store(settings: StoreSettings) -> Store:
    """Opens nothing yet: the root is made when the first artefact is built. Raises HomeError where none is known."""
    quota_bytes = None if settings.quota_gb is None else int(settings.quota_gb * 1e9)
    root = settings.root or (default_store_root() if settings.enabled else _NOWHERE)
    return Store(root, quota_bytes=quota_bytes, enabled=settings.enabled)
