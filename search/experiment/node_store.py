"""Opens this node's store according to an experiment's `store` section."""

import os
from hashlib import blake2b
from pathlib import Path

from carcls.store import Store, default_store_root
from carcls.store.mirrors import mirror_folder
from carcls.system import atomic
from search.experiment.file.paths import is_url
from search.experiment.settings import StoreSettings

POINTER_NAME = "bucket.url"
"""File with the URL of `results` in the folder of this machine that mirrors it."""
_NOWHERE = Path(os.devnull)
"""Root of a disabled store."""


def photos_folder(root: str, settings: StoreSettings, *, renew: bool = False) -> Path:
    """The folder of `data.root` on this node; photos at a URL are copied there first if they are not yet.

    renew: whether to look for changes at the URL, for a new study. Raises the errors of `mirrored`.
    """
    if not is_url(root):
        return Path(root)
    from carcls.dataset.mirror import mirrored  # noqa: PLC0415 - pyarrow, only for URLs

    quota_bytes = None if settings.quota_gb is None else int(settings.quota_gb * 1e9)
    return mirrored(root, _place(settings), quota_bytes=quota_bytes, renew=renew)


def copied_to(root: str, settings: StoreSettings) -> Path:
    """The same folder, without copying anything."""
    return mirror_folder(_place(settings), root) / "files" if is_url(root) else Path(root)


def results_folder(results: str) -> Path:
    """The folder of all studies on this machine; for a URL, the one that mirrors it, below the default store."""
    if not is_url(results):
        return Path(results)
    base, mark, query = results.partition("?")
    digest = blake2b(f"{base.rstrip('/')}{mark}{query}".encode(), digest_size=8)
    return default_store_root() / "studies" / digest.hexdigest()


def keep_pointer(folder: Path, url: str) -> None:
    """Make a folder the mirror of a URL of studies."""
    pointer = folder / POINTER_NAME
    if not pointer.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(pointer, f"{url}\n")


def study_on_node(study: str, settings: StoreSettings) -> Path:
    """The folder of a study on a node that trains its trials: for a URL, one in the node's store with what they need.

    It is not the folder of `results_folder`, which mirrors the whole study for its driver.
    """
    if not is_url(study):
        return Path(study)
    return _place(settings) / "workers" / blake2b(study.encode(), digest_size=8).hexdigest()


def _place(settings: StoreSettings) -> Path:
    return settings.root or default_store_root()


def open_store(settings: StoreSettings) -> Store:
    """The store. Its root is created with the first artefact. Raises HomeError if no cache folder is known."""
    quota_bytes = None if settings.quota_gb is None else int(settings.quota_gb * 1e9)
    root = settings.root or (default_store_root() if settings.enabled else _NOWHERE)
    return Store(root, quota_bytes=quota_bytes, enabled=settings.enabled)
