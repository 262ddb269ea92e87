"""Two connected network namespaces in place of two machines: sockets of one, and which the other reaches. Needs root.

The machine's own network is not touched: the cable's ends lie in the namespaces.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.helpers.search.processes import wait_until

INSIDE_IP, OUTSIDE_IP = "10.211.0.1", "10.211.0.2"
_LISTENS = "0A"
_BOUND_UDP = "07"


@dataclass(frozen=True, order=True)
class Listener:
    """A listening socket."""

    protocol: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address == "::1"


def can_join_namespaces() -> bool:
    """False without root, without iproute2, or if the container forbids it."""
    try:
        with Networks():
            return True
    except (AssertionError, OSError, subprocess.CalledProcessError):
        return False


class Networks:
    """`inside` and `outside`: prefixes for commands. They are deleted on exit; processes that still run there stay."""

    def __enter__(self) -> Self:
        self._holders = [
            subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stderr=subprocess.DEVNULL) for _ in range(2)
        ]
        try:
            for holder in self._holders:
                wait_until(lambda pid=holder.pid: _has_own_network(pid), "a network namespace", within_s=10)
            self.inside, self.outside = (["nsenter", "-t", str(holder.pid), "-n"] for holder in self._holders)
            self._ip(self.inside, "link add cable0 type veth peer name cable1 netns", str(self._holders[1].pid))
            for where, cable, ip in ((self.inside, "cable0", INSIDE_IP), (self.outside, "cable1", OUTSIDE_IP)):
                self._ip(where, f"addr add {ip}/24 dev {cable}")
                self._ip(where, f"link set {cable} up")
                self._ip(where, "link set lo up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def listeners(self) -> list[Listener]:
        """Every TCP and UDP socket that listens inside."""
        return listeners(self._holders[0].pid)

    def unix_listeners(self) -> list[str]:
        """Paths of every Unix socket that listens inside; abstract ones begin with @."""
        rows = Path(f"/proc/{self._holders[0].pid}/net/unix").read_text(encoding="utf-8").splitlines()[1:]
        cells = [row.split(maxsplit=7) for row in rows]
        return [row[7] for row in cells if len(row) > 7 and int(row[3], 16) & 0x10000]  # __SO_ACCEPTCON

    def _ip(self, where: list[str], command: str, *more: str) -> None:
        subprocess.run([*where, "ip", *command.split(), *more], check=True, capture_output=True)


def listeners(pid: int) -> list[Listener]:
    """Every TCP and UDP socket that listens in a process's network namespace."""
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        table = Path(f"/proc/{pid}/net/{protocol}")
        for row in table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else []:
            cells = row.split()
            if cells[3] == (_LISTENS if protocol.startswith("tcp") else _BOUND_UDP):
                address, port = cells[1].split(":")
                found.add(Listener(protocol[:3], _address(address), int(port, 16)))
    return sorted(found)


def _address(hexadecimal: str) -> str:
    """The kernel writes addresses as words in the machine's byte order, here little-endian."""
    raw = b"".join(bytes.fromhex(word)[::-1] for word in re.findall("." * 8, hexadecimal))
    if len(raw) == 16 and raw.startswith(bytes(10) + b"\xff\xff"):
        raw = raw[12:]
    if len(raw) == 4:
        return ".".join(str(byte) for byte in raw)
    return "::1" if raw == bytes(15) + b"\1" else raw.hex()


def _has_own_network(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
