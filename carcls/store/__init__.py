"""Artefacts on the node's own disk: content-addressed, built once, published atomically, memory-mapped.

store.py      Store: the one door
artefact.py   what an artefact is: key, address, the file's layout; pure
files.py      one artefact's file: claimed, written, mapped, removed, with the lock that says who holds it
room.py       quota and free disk: which artefacts go, and that none goes that is open
damage.py     content hashes: `verify`, the background check of each boot, and who must hear of damage
inventory.py  what lies under a root, and cleaning it
disk.py       mount table and boot: what the kernel says
progress.py   lines of a long build
usage.py      how much a process has had from it, and how long builds take
"""

from carcls.store.artefact import Json
from carcls.store.build_progress import Progress
from carcls.store.files import Blank
from carcls.store.store import Store, default_store_root
from carcls.store.usage import leave_out, take_use

__all__ = ["Blank", "Json", "Progress", "Store", "default_store_root", "leave_out", "take_use"]
