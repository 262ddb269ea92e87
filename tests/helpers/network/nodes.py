"""Nodes of a Ray cluster on this machine, each with its own mount namespace: private folders differ, all others are
shared. Needs root."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ray._private.services import get_node_ip_address

from search.on_ray.watchdog import HEALTH_CHECKS
from tests.helpers.search.processes import children_below, descendants, is_alive, kill, wait_until

SECOND_IP = "127.0.0.2"
START_S = 120.0


def can_unshare() -> bool:
    """False without root, or if the container forbids it."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


class Node:
    """One `ray start --block` with one core, and its descendants. Its token is $RAY_AUTH_TOKEN."""

    def __init__(self, *options: str, private: Mapping[Path, Path], log: Path) -> None:
        """private: the folder mounted at each path of this node."""
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
        ray += ["--min-worker-port=0", "--max-worker-port=0", *options]  # otherwise both nodes assign the same ports
        mounts = [shlex.join(["mount", "--bind", str(own), str(seen)]) for seen, own in private.items()]
        script = " && ".join([*mounts, f"exec {shlex.join(ray)}"])
        self.log = log
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            env={**os.environ, **HEALTH_CHECKS, "RAY_AUTH_MODE": "token", "RAY_memory_monitor_refresh_ms": "0"},
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(self._has_started, f"a node (see {log})", within_s=START_S)

    def _has_started(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        return "Ray runtime started" in self.log.read_text(encoding="utf-8")

    def children(self) -> frozenset[int]:
        """Processes of trials on this node."""
        return children_below(self.process.pid)

    def trainers(self) -> frozenset[int]:
        """Actors of trials on this node and all processes below them."""
        actors = [pid for pid, name in descendants(self.process.pid).items() if name.startswith("ray::ImplicitFunc")]
        return frozenset(pid for actor in actors for pid in (actor, *descendants(actor)))

    def find(self, program: str) -> int:
        """Process id of one of Ray's own programs, such as `raylet/raylet`."""
        return next(pid for pid, name in descendants(self.process.pid).items() if program in name.split(" ", 1)[0])

    def below(self) -> set[int]:
        return set(descendants(self.process.pid))

    def kill(self) -> None:
        """Kills all processes at once, like a power cut."""
        below = self.below()
        kill({pid for pid in (self.process.pid, *below) if is_alive(pid)})
        self.process.wait()


class Nodes:
    """A cluster of such nodes. Its folder's path is short, because it contains Ray's sockets."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._temp = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        self.address = f"{get_node_ip_address()}:{_free_port()}"
        self.all: list[Node] = []

    def start(self, private: Mapping[Path, Path]) -> Node:
        """Adds a node; the first is the head."""
        head = ("--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false")
        join = (f"--address={self.address}", f"--node-ip-address={SECOND_IP}")
        options = join if self.all else (*head, f"--temp-dir={self._temp}")
        log = self._logs / f"node-{len(self.all)}.txt"
        self.all.append(Node(*options, private=private, log=log))
        return self.all[-1]

    def end(self) -> None:
        for node in reversed(self.all):
            for pid in node.below():
                os.kill(pid, signal.SIGCONT)
            node.kill()
        shutil.rmtree(self._temp, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def trial_of(child: int) -> int | None:
    """Number of the trial that a child trains, from the file of its output, or None if it is gone or new."""
    try:
        output = Path(f"/proc/{child}/fd/1").readlink()
    except OSError:
        return None
    return int(output.parts[-3]) if output.name == "output.log" else None
