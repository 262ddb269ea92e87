"""A worker's own connection to its driver: when the driver is gone, the worker ends, whether or not Ray still can tell.

Ray ends the workers of a dead driver by its control store (GCS). If the store died with the driver, as when the head
node is lost, a raylet waits a minute for it, and its workers train on.
"""

import os
import socket
import threading
import time
from collections.abc import Callable

LEAST_SILENT_S = 40.0
"""A little more than the 39 s after which the cluster gives up a node that does not answer."""
_PAUSE_S = 1.0
"""Between two attempts to connect."""
_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
_KEEPALIVE_S = 20.0
"""Silence after which the kernel gives up an open connection, by the numbers above."""
_CONNECT_S = 5.0
_PIECE_BYTES = 4096

_followed: set[str] = set()
"""Drivers that a thread of this process follows."""


def follow_driver(address: str, silent_s: float, *, end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Calls `end` from a thread once the driver's process is gone, or has not answered for `silent_s` seconds.

    address: HOST:PORT of the driver's own server, which Ray opens. Called again for the same driver, it does nothing.
    """
    if address not in _followed:
        _followed.add(address)
        threading.Thread(target=_follow, args=(address, silent_s, end), name="driver-line", daemon=True).start()


def _follow(address: str, silent_s: float, end: Callable[[], None]) -> None:
    host, _, port = address.rpartition(":")
    heard_s, was_open = time.monotonic(), False
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S) as line:
                was_open = True
                quiet_s = _listen(line)
            heard_s = time.monotonic() - quiet_s
        except ConnectionRefusedError:  # its machine answers, but nothing listens there any more
            if was_open:
                break
        except OSError:
            pass  # no answer
        # A line that was never open proves nothing: a firewall may be in between.
        if was_open and time.monotonic() - heard_s > silent_s:
            break
        time.sleep(_PAUSE_S)
    end()


def _listen(line: socket.socket) -> float:
    """Returns when the connection has ended: how many seconds ago the other side was last known to answer.

    Ray's server says little, and closes a connection without a request after two minutes; it is then made anew.
    """
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        line.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        while line.recv(_PIECE_BYTES):
            pass
    except ConnectionResetError:
        return 0.0
    except OSError:  # the kernel has given up
        return _KEEPALIVE_S
    return 0.0
