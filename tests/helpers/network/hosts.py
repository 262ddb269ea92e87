"""Hosts on this machine: network, mount and UTS namespaces on one bridge. A host has its own address, name, folders and
cable, which a test may pull. Needs root and iproute2. The machine's own network is not touched.

    switch (namespace with a bridge, 10.212.0.254)
      ├─ host0 10.212.0.1: the head, where a test also runs carsearch
      └─ host1 10.212.0.2, ...
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from search.on_ray.watchdog import HEALTH_CHECKS
from tests.helpers.network.networks import _has_own_network
from tests.helpers.search.processes import children_below, descendants, is_alive, kill, wait_until

_NET = "10.212.0."
_PORT = 6379
_START_S = 120.0
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # by default Ray is nice to all other processes, and starves on a busy machine
}
_HOLD = "echo up; exec sleep infinity"
_INIT = "echo up; while :; do sleep 1000 & wait $!; done"  # reaps orphans
_RAY_TEMP = Path("/tmp/ray")  # noqa: S108 - where Ray keeps its sockets; each host has its own there


def why_no_hosts() -> str | None:
    """Why there can be no hosts here, or None: no root, no iproute2, or a container that forbids namespaces."""
    try:
        with Hosts(Path(tempfile.gettempdir())) as hosts:
            hosts.add()
    except (AssertionError, OSError, subprocess.CalledProcessError) as error:
        return f"needs network, mount and UTS namespaces, root and iproute2 ({type(error).__name__})"
    return None


class Host:
    """One host; Ray runs there between `start_ray` and `kill` or `stop`."""

    def __init__(self, number: int, own: Path, *, own_processes: bool = False) -> None:
        """own_processes: its processes see no others, and `cut_power` ends them all."""
        self.name = f"host{number}"
        self.ip = f"{_NET}{number + 1}"
        self.own = own
        self.log = own / "ray.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self._pids = ["-p"] if own_processes else []
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "--propagation", "private"]
            + (["--pid", "--fork", "--kill-child", "--mount-proc"] if own_processes else [])
            + ["sh", "-c", _INIT if own_processes else _HOLD],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"up\n", "no namespaces"
        self.init = next(iter(descendants(self.holder.pid))) if own_processes else self.holder.pid
        self.sh(f"hostname {self.name}")
        (own / "ray").mkdir(parents=True)
        _RAY_TEMP.mkdir(exist_ok=True)
        self.bind(own / "ray", _RAY_TEMP)

    @property
    def inside(self) -> list[str]:
        """Prefix of commands that run on this host."""
        return ["nsenter", "-t", str(self.init), "-n", "-u", "-m", *self._pids]

    def sh(self, script: str) -> None:
        subprocess.run([*self.inside, "sh", "-c", script], check=True, capture_output=True)

    def bind(self, folder: Path, seen: Path) -> None:
        """Shows this host `folder` at the path `seen`."""
        self.sh(shlex.join(["mount", "--bind", str(folder), str(seen)]))

    def start_ray(self, head: "Host", *options: str, cpus: int = 1, env: Mapping[str, str] | None = None) -> None:
        where = ["--head", f"--port={_PORT}", "--include-dashboard=false"] if self is head else []
        where = where or [f"--address={head.ip}:{_PORT}"]
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--num-cpus={cpus}"]
        self.process = subprocess.Popen(
            [*self.inside, *ray, f"--node-ip-address={self.ip}", *where, *options],
            env={**os.environ, **HEALTH_CHECKS, **_SETTINGS, **(env or {})},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(self._has_started, f"Ray on {self.name} (see {self.log})", within_s=_START_S)

    def start_cli(self, *arguments: str, cwd: Path, output: str = "output.txt") -> "subprocess.Popen[str]":
        """Starts `carsearch ...` on this host."""
        return subprocess.Popen(
            [*self.inside, "env", "-C", str(cwd), sys.executable, "-m", "search.cli", *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            stdout=(cwd / output).open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def trials(self) -> frozenset[int]:
        """Processes of trials on this host."""
        return children_below(self.process.pid) if self.process else frozenset()

    def below(self) -> set[int]:
        """All of Ray's processes on this host."""
        return set(descendants(self.process.pid)) if self.process else set()

    def kill(self) -> None:
        """Kills all of Ray's processes at once, like a power cut."""
        if self.process is None:
            return
        below = self.below()
        kill({pid for pid in (self.process.pid, *below) if is_alive(pid)})
        self.process.wait()
        self.process = None

    def cut_power(self) -> None:
        """Ends all of the host's processes at once. Only with its own processes; the host does not come back."""
        assert self._pids
        kill({self.init})
        self.holder.wait()

    def kill_all(self) -> None:
        """Kills all of its processes, as a container's runtime does; its network and files stay. Only with its own
        processes."""
        assert self._pids
        self.sh("kill -9 -1")
        assert self.process is not None
        self.process.wait()

    def processes(self) -> list[str]:
        """Command lines of all that run here, in a host of its own processes."""
        assert self._pids
        done = subprocess.run(
            [*self.inside, "ps", "-ww", "-eo", "stat,args"], capture_output=True, text=True, check=True
        )
        rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
        own = ("sh -c", "sleep 1000", "ps -ww")
        return [command for state, command in rows if state[0] != "Z" and not command.startswith(own)]

    def terminate(self) -> None:
        """Sends `ray start` SIGTERM, as Kubernetes does before it ends a pod."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGTERM)

    def _has_started(self) -> bool:
        assert self.process is not None
        text = self.log.read_text(encoding="utf-8")
        assert self.process.poll() is None, text
        return "Ray runtime started" in text


class Hosts:
    """Hosts on one bridge. Leaving the context ends everything that runs there."""

    def __init__(self, folder: Path) -> None:
        """folder: a folder for each host's own files is made there."""
        self._own = Path(tempfile.mkdtemp(prefix="hosts-", dir=folder))
        self.all: list[Host] = []

    def __enter__(self) -> Self:
        self._switch = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _has_own_network(self._switch.pid), "a network namespace", within_s=10)
            self._on_switch("link add bridge0 type bridge", "link set bridge0 up", f"addr add {_NET}254/24 dev bridge0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in reversed(self.all):
            for pid in host.below():
                os.kill(pid, signal.SIGCONT)
            host.kill()
            host.holder.kill()
            host.holder.wait()
        self._switch.kill()
        self._switch.wait()
        shutil.rmtree(self._own, ignore_errors=True)

    @property
    def head(self) -> Host:
        return self.all[0]

    @property
    def address(self) -> str:
        return f"{self.head.ip}:{_PORT}"

    def add(self, *, own_processes: bool = False) -> Host:
        """A host with its cable in the switch; Ray does not run there yet."""
        number = len(self.all)
        host, cable = Host(number, self._own / f"host{number}", own_processes=own_processes), f"cable{number}"
        self.all.append(host)
        self._on_switch(f"link add {cable} type veth peer name eth0 netns {host.init}")
        self._on_switch(f"link set {cable} master bridge0", f"link set {cable} up")
        host.sh(
            "ip link set lo up && ip link set eth0 up"
            f" && ip addr add {host.ip}/24 dev eth0 && ip route add default via {_NET}254"
        )
        return host

    def plug(self, host: Host, *, is_in: bool) -> None:
        """Pulls a host's cable, or puts it back."""
        self._on_switch(f"link set cable{self.all.index(host)} {'up' if is_in else 'down'}")

    def _on_switch(self, *commands: str) -> None:
        for command in commands:
            subprocess.run(
                ["nsenter", "-t", str(self._switch.pid), "-n", "ip", *command.split()], check=True, capture_output=True
            )
