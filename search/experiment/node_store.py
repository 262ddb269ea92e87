"""Opens this node's store according to an experiment's `store` section."""

import os
from pathlib import Path

from carcls.store import Store, default_store_root
from search.experiment.settings import StoreSettings

_NOWHERE = Path(os.devnull)
"""Root of a disabled store."""


def open_store(settings: StoreSettings) -> Store:
    """The store. Its root is created with the first artefact. Raises HomeError if no cache folder is known."""
    quota_bytes = None if settings.quota_gb is None else int(settings.quota_gb * 1e9)
    root = settings.root or (default_store_root() if settings.enabled else _NOWHERE)
    return Store(root, quota_bytes=quota_bytes, enabled=settings.enabled)
