"""An experiment's `store` section -> the store of the node that asks."""

from carcls.data.store import Store, default_store_root
from search.experiment.settings import StoreSettings


def open_store(settings: StoreSettings) -> Store:
    """Opens nothing yet: the root is made when the first artefact is built."""
    quota_bytes = None if settings.quota_gb is None else int(settings.quota_gb * 1e9)
    return Store(settings.root or default_store_root(), quota_bytes=quota_bytes, enabled=settings.enabled)
