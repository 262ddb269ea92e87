"""Arrays cached on the node's own disk: content-addressed, built once, published atomically, memory-mapped.

store.py           Store, the interface
artefact.py        an artefact's key, address and file layout; pure
files.py           one artefact's file: claim, write, map, remove, and the lock of its users
quota.py           quota and free disk: evicts the least recently used artefacts that are not open
damage.py          content hashes: `verify`, a background check once per boot, and notification of users
hashing.py         the content hash
inventory.py       lists and cleans the artefacts below a root
disk.py            mount table, free space and boot id
build_progress.py  log lines of a long build
usage.py           how much a process used the store, and how long builds take
"""

from carcls.store.artefact import Json
from carcls.store.build_progress import Progress
from carcls.store.files import ArrayWriter
from carcls.store.store import Store, default_store_root
from carcls.store.usage import exclude_seconds, take_use

__all__ = ["ArrayWriter", "Json", "Progress", "Store", "default_store_root", "exclude_seconds", "take_use"]
