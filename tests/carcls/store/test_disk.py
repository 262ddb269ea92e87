from pathlib import PurePosixPath

import pytest

from carcls.store import disk, store
from carcls.store.disk import network_filesystem
from carcls.store.store import Store

MOUNTS = r"""/dev/vda / ext4 rw,relatime 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/export /mnt/results nfs4 rw,vers=4.2 0 0
/dev/nvme0n1 /mnt/results/scratch xfs rw 0 0
//nas/photos /mnt/two\040words cifs rw 0 0
user@host: /mnt/remote fuse.sshfs rw 0 0
overlay /mnt/overlay fuse.fuse-overlayfs rw 0 0
/dev/sdb1 /mnt/stick fuseblk rw 0 0
10.0.0.1@tcp:/lustre /scratch lustre rw 0 0
/dev/vdb /mnt/hidden ext4 rw 0 0
server:/over /mnt/hidden nfs rw 0 0
broken line
"""


def ones(blank) -> None:
    blank[:] = 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/.cache/carsearch/store", None),
        ("/mnt/results", "nfs4"),
        ("/mnt/results/cars", "nfs4"),
        ("/mnt/results2", None),
        ("/mnt/results/scratch/store", None),
        ("/mnt/two words/store", "cifs"),
        ("/mnt/remote/x", "fuse.sshfs"),
        ("/mnt/overlay/x", None),
        ("/mnt/stick/x", None),
        ("/scratch/me", "lustre"),
        ("/mnt/hidden/x", "nfs"),
    ],
)
def test_network_file_systems_are_told_by_the_deepest_mount(path, expected):
    assert network_filesystem(PurePosixPath(path), MOUNTS) == expected


def test_no_mounts_no_verdict():
    assert network_filesystem(PurePosixPath("/x"), "") is None


def test_this_boot_has_an_id():
    assert len(disk.boot_id()) == 36


def test_a_store_on_a_network_disk_is_warned_of_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store, "network_filesystem_of", lambda _root: "nfs4")  # cannot be mounted here
    for kind in ("a", "b"):
        Store(tmp_path).get_or_build({"kind": kind}, (3,), "uint8", ones)
    [line] = caplog.messages
    assert line.startswith(f"store {tmp_path} is on a network file system (nfs4): slow; set store.root")
