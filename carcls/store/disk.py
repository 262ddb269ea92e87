"""What the kernel says about the disk under a folder, and about the boot."""

import os
import re
from pathlib import Path, PurePosixPath

_NETWORK_TYPES = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2")
) | {"orangefs", "panfs", "smb3", "smbfs", "virtiofs"}
_LOCAL_FUSE = frozenset(("fuse.bindfs", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.ntfs-3g"))
"""File systems in user space are mostly remote (sshfs, glusterfs, s3fs, gcsfuse, juicefs ...); these are not."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_filesystem(path: PurePosixPath, mounts: str) -> str | None:
    """The type of the network file system that an absolute, resolved path lies on; None where its disk is local.

    mounts: the text of /proc/self/mounts (fstab(5): device, mount point, type, ...; spaces as octal escapes). Pure.
    """
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = PurePosixPath(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        # Not below: of two mounts at one point the later hides the earlier.
        if (path == point or point in path.parents) and len(point.parts) >= depth:
            found, depth = fields[2], len(point.parts)
    is_remote = found in _NETWORK_TYPES or (found.startswith("fuse.") and found not in _LOCAL_FUSE)
    return found if is_remote else None


def network_filesystem_of(path: Path) -> str | None:
    """The same for a folder of this machine, which need not exist yet; None too where the kernel tells no mounts."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return network_filesystem(PurePosixPath(path.resolve()), mounts)


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on the disk of an existing folder. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def boot_id() -> str:
    """Changes with each boot of the machine; the same in all its containers. Empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
