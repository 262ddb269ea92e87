"""The store of a node, shared by all its processes."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from carcls.errors import HomeError, StoreError
from carcls.store import damage, files
from carcls.store.artefact import Artefact, Json
from carcls.store.build_progress import waiting_for
from carcls.store.disk import network_filesystem_of
from carcls.store.inventory import COMPILED
from carcls.store.quota import QuotaError, reserve
from carcls.store.usage import BuildTimer
from carcls.system.home import home_folder

Build = Callable[[files.ArrayWriter], None]

_COMPILED_BYTES = 2_000_000_000
"""Limit for compiled programs. One step of a large backbone takes 1 to 20 MB."""

_log = logging.getLogger(__name__)
_said: set[tuple[Path, str]] = set()
"""(root, topic) of the warnings that this process has logged."""


def default_store_root() -> Path:
    """$CARSEARCH_STORE, or else ~/.cache/carsearch/store. Should be on a local disk. Raises HomeError."""
    named = os.environ.get("CARSEARCH_STORE")
    return Path(named) if named else _below_home()


def _below_home() -> Path:
    try:
        return home_folder() / ".cache" / "carsearch" / "store"
    except HomeError as error:
        raise HomeError(f"{error}; or set CARSEARCH_STORE to a folder for the store") from error


@dataclass(frozen=True)
class Store:
    """Arrays that are pure functions of their keys, shared by all processes of a node.

    Safe for concurrent use by threads and processes, including forked ones: one builds an artefact while the others
    wait or do something else (`try_build`). Instances hold no open files and can be pickled.

    Header and length are checked on each use; the content is hashed once per node and boot in the background. After
    damage was found, the next call in a process that has used the artefact raises DamagedStoreError.
    """

    root: Path
    quota_bytes: int | None = None
    """Limit for all artefacts together, or None. The least recently used that are not open are evicted."""
    enabled: bool = True
    """False disables reading and writing; callers compute what they need."""

    @property
    def compiled_programs(self) -> tuple[Path, int] | None:
        """Folder for the programs that XLA compiles, and its limit in bytes; None if the store is off.

        They count towards the quota, of which they get at most a tenth.
        """
        if not self.enabled:
            return None
        limit = _COMPILED_BYTES if self.quota_bytes is None else min(self.quota_bytes // 10, _COMPILED_BYTES)
        return self.root / COMPILED, limit

    def get_or_build(
        self, key: Mapping[str, Json], shape: Sequence[int], dtype: DTypeLike, build: Build
    ) -> NDArray[Any]:
        """The artefact of this key as a read-only memory map, built first if missing or damaged.

        key: everything that the content depends on. build: assigns the rows, which are initially zero. Its exceptions
        pass through, and nothing is published.

        Raises DamagedStoreError if an artefact used before was found damaged. Raises StoreError if the store is off or
        unusable, which it logs once per process; the caller then computes what it needs.
        """
        with BuildTimer():  # excludes this call from the build time of an artefact that depends on this one
            array = self.try_build(key, shape, dtype, build)
            while array is None:
                array = self._attempt(Artefact.of(key, shape, dtype), build, wait=True)
            return array

    def try_build(
        self, key: Mapping[str, Json], shape: Sequence[int], dtype: DTypeLike, build: Build
    ) -> NDArray[Any] | None:
        """The same, but None if another process is building it, so that the caller can do something else meanwhile."""
        with BuildTimer():
            return self._attempt(Artefact.of(key, shape, dtype), build, wait=False)

    def _attempt(self, artefact: Artefact, build: Build, *, wait: bool) -> NDArray[Any] | None:
        """One attempt to open or build. None if another process is building, or has just finished or given up."""
        if not self.enabled:
            raise StoreError("the store is off (store.enabled: false)")
        damage.fail_on_damage()
        if 0 in artefact.shape:  # an empty file cannot be mapped
            return np.empty(artefact.shape, artefact.dtype)
        try:
            found = self._open_or_build(artefact, build, wait=wait)
        except QuotaError as error:
            raise self._unusable(f"{error}; raise store.quota_gb", artefact) from error
        except OSError as error:
            way_out = "free some space there, or set store.root (or CARSEARCH_STORE) to a folder on a larger local disk"
            raise self._unusable(f"cannot be built: {error.strerror or error}; {way_out}", artefact) from error
        if found is None:
            return None
        array, trailer = found
        damage.note_opened(self._path(artefact), trailer)
        return array

    def _open_or_build(self, artefact: Artefact, build: Build, *, wait: bool) -> files.Opened | None:
        path = self._path(artefact)
        opened = files.open_artefact(path, artefact)
        if opened is not None:
            return opened
        self.root.mkdir(parents=True, exist_ok=True)
        self._warn_of_network()
        with files.claimed(path, waiting=waiting_for(artefact.name) if wait else None) as file:
            if file is None:
                return None
            opened = files.open_artefact(path, artefact)  # published after this process looked
            if opened is not None:
                return opened
            # After claiming, so that two builders of one artefact do not both evict others.
            reserve(self.root, file, artefact.file_bytes, quota_bytes=self.quota_bytes)
            built = files.write(file, path, artefact, build)
            damage.mark_checked(path)
            return built

    def _path(self, artefact: Artefact) -> Path:
        return self.root / f"{artefact.address}{files.FINISHED}"

    def _unusable(self, why: str, artefact: Artefact) -> StoreError:
        error = StoreError(f"store {self.root}: {artefact.name} of {artefact.content_bytes / 1e6:,.1f} MB {why}")
        self._warn_once("unusable", f"{error}; continuing without it: slower, with the same results")
        return error

    def _warn_of_network(self) -> None:
        kind = network_filesystem_of(self.root)
        if kind is not None:
            advice = "set store.root (or CARSEARCH_STORE) to a folder on this node's own disk"
            self._warn_once("network", f"store {self.root} is on a network file system ({kind}): slow; {advice}")

    def _warn_once(self, topic: str, line: str) -> None:
        if (self.root, topic) not in _said:
            _said.add((self.root, topic))
            _log.warning("%s", line)
