"""Forks small worker processes that prepare batches, from a server that runs only NumPy, OpenCV and albumentations.

    trainer ── control socket ──→ server ──forks──→ worker ←── one socket each ── trainer

A process that runs TensorFlow must not fork, since locks held by its threads would stay locked in the child. The server
is therefore forked before TensorFlow starts, or is a fresh interpreter. Only the trainer holds the other end of each
socket: when the trainer dies, even by SIGKILL, server and workers see the end of their sockets and exit.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from carcls.system.module_path import without_current_folder

Serve = Callable[[socket.socket, int], None]
"""A worker's main loop: called with its socket to the trainer and the file descriptor of the shared memory."""

_WORK = b"w"
_MAIN = "import sys; from carcls.input.batch_worker import server_main; server_main(int(sys.argv[1]))"


class BatchWorkerServer:
    """The trainer's handle of the server process, which uses a few MB until it is asked for a worker."""

    def __init__(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._control = control
        self._wait = wait

    @classmethod
    def forked(cls, serve: Serve) -> "BatchWorkerServer":
        """Forks this process, which must be single-threaded and must not have run TensorFlow or JAX operations."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                # The server must not keep other files open, such as pipes whose closing signals this process's death.
                os.closerange(3, theirs.fileno())
                os.closerange(theirs.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
                run_server(theirs, serve)
            finally:
                os._exit(1)
        theirs.close()
        return cls(ours, partial(os.waitpid, pid, 0))

    @classmethod
    def spawned(cls) -> "BatchWorkerServer":
        """Starts a fresh interpreter, which takes a second to import albumentations. Works in any process."""
        ours, theirs = socket.socketpair()
        with theirs, without_current_folder():
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        return cls(ours, process.wait)

    def worker(self, memory: int) -> socket.socket:
        """Requests a worker and returns the socket to it. Messages are queued until it runs. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_WORK], [theirs.fileno(), memory])
        return ours

    def close(self) -> None:
        """Ends the server. Its workers continue."""
        self._control.close()
        self._wait()


def run_server(control: socket.socket, serve: Serve) -> NoReturn:
    """Main loop of the server: forks a worker for each request until the trainer is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, whose end ends this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaps workers automatically
    while True:
        try:
            request, descriptors, _, _ = socket.recv_fds(control, len(_WORK), 2)
        except OSError:
            os._exit(0)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            try:
                control.close()
                serve(socket.socket(fileno=descriptors[0]), descriptors[1])
            finally:
                os._exit(0)
        # The worker has its own copies. If the server kept these, the trainer would not notice a worker's death.
        for descriptor in descriptors:
            os.close(descriptor)
