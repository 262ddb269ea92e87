"""What the kernel knows about the disk under a folder and about the boot."""

import os
import re
from pathlib import Path, PurePosixPath

_NETWORK_TYPES = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2")
) | {"orangefs", "panfs", "smb3", "smbfs", "virtiofs"}
_LOCAL_FUSE = frozenset(("fuse.bindfs", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.ntfs-3g"))
"""Local FUSE file systems. Most others are remote (sshfs, glusterfs, s3fs, gcsfuse, juicefs)."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_filesystem(path: PurePosixPath, mounts: str) -> str | None:
    """Type of the network file system of an absolute, resolved path, or None if its disk is local. Pure.

    mounts: content of /proc/self/mounts (fstab(5): device, mount point, type, ...; spaces as octal escapes).
    """
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = PurePosixPath(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        # `>=`: of two mounts at one point the later hides the earlier.
        if (path == point or point in path.parents) and len(point.parts) >= depth:
            found, depth = fields[2], len(point.parts)
    is_remote = found in _NETWORK_TYPES or (found.startswith("fuse.") and found not in _LOCAL_FUSE)
    return found if is_remote else None


def network_filesystem_of(path: Path) -> str | None:
    """The same for a folder of this machine, which need not exist. Also None if the mount table is unavailable."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return network_filesystem(PurePosixPath(path.resolve()), mounts)


def free_bytes(folder: Path) -> int:
    """Free space for unprivileged users on the disk of an existing folder. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def boot_id() -> str:
    """Id of the current boot, the same in all containers of the machine. Empty if unavailable."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
