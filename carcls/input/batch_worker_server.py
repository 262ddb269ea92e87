"""Small processes that prepare batches, forked from one in which nothing but NumPy, OpenCV and albumentations has run.

    trainer ── control socket ──→ nursery ──forks──→ worker ←── one socket each ── trainer

A process in which TensorFlow runs must never fork: its threads' locks would stay locked in the child for ever. So the
nursery is forked before TensorFlow starts, or is a fresh interpreter. Each socket's other end is held by the trainer
alone: when the trainer goes, SIGKILL included, nursery and workers read the end of their sockets and go too.
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
"""A worker's life: its socket to the trainer, and the descriptor of the memory that they share."""

_WORK = b"w"
_MAIN = "import sys; from carcls.input.batch_worker import nursery_main; nursery_main(int(sys.argv[1]))"


class Nursery:
    """The trainer's end. Costs a few MB, and nothing else until it is asked for a worker."""

    def __init__(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._control = control
        self._wait = wait

    @classmethod
    def forked(cls, serve: Serve) -> "Nursery":
        """Forks this process, which must have one thread, and in which no TensorFlow or JAX operation may have run."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                # What else this process has open, such as pipes whose end tells of its death, is not the nursery's.
                os.closerange(3, theirs.fileno())
                os.closerange(theirs.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
                run_nursery(theirs, serve)
            finally:
                os._exit(1)
        theirs.close()
        return cls(ours, partial(os.waitpid, pid, 0))

    @classmethod
    def spawned(cls) -> "Nursery":
        """Starts a fresh interpreter, which has imported albumentations after a second; from any process."""
        ours, theirs = socket.socketpair()
        with theirs, without_current_folder():
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        return cls(ours, process.wait)

    def worker(self, memory: int) -> socket.socket:
        """Asks for a worker; returns the socket to it. What is sent waits until it runs. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_WORK], [theirs.fileno(), memory])
        return ours

    def close(self) -> None:
        """Ends the nursery; its workers live on."""
        self._control.close()
        self._wait()


def run_nursery(control: socket.socket, serve: Serve) -> NoReturn:
    """The nursery's whole life: forks a worker for each request, and ends when its trainer is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the trainer, whose end ends this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that ended leave no zombies
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
        for descriptor in descriptors:
            os.close(descriptor)
