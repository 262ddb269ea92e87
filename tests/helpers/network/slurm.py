"""A SLURM cluster of Debian's own programs: a controller and compute nodes, each on a host of its own.

Every process of a host lives in the host's own PID namespace, so that `ray stop` and SLURM see no others. The nodes
claim 8 cores and a GPU, as deploy/slurm asks for; no program can use that GPU.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.helpers.network.hosts import Host, Hosts
from tests.helpers.search.processes import wait_until

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
_CONF = """\
ClusterName=test
SlurmctldHost={controller.name}({controller.ip})
SlurmUser=root
AuthInfo=socket={own}/munge.socket,cred_expire=20
StateSaveLocation={own}/state
SlurmctldPidFile={own}/slurmctld.pid
SlurmctldLogFile={own}/slurmctld.log
SlurmdPidFile={own}/%n.pid
SlurmdLogFile={own}/%n.log
SlurmdSpoolDir={own}/spool-%n
SlurmdParameters=config_overrides
SlurmdTimeout=15
KillWait=20
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
GresTypes=gpu
"""
_GPU = "Name=gpu File=/dev/null\n"


def why_no_slurm() -> str | None:
    """Why there can be no SLURM here, or None."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"needs {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else None


class Slurm:
    """`hosts.all[0]` is the controller, where users log in too; the others compute. Its logs are in `own`."""

    def __init__(self, hosts: Hosts, folder: Path, *, nodes: int) -> None:
        """folder: seen by all hosts."""
        self.hosts, self.own = hosts, folder
        self.controller, *self.nodes = (hosts.add(own_processes=True) for _ in range(nodes + 1))

    def __enter__(self) -> Self:
        for name in ("state", "etc", *(f"spool-{node.name}" for node in self.nodes)):
            (self.own / name).mkdir(parents=True)
        rows = [f"NodeName={node.name} NodeAddr={node.ip} CPUs=8 Gres=gpu:1 State=UNKNOWN" for node in self.nodes]
        rows.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        conf = _CONF.format(controller=self.controller, own=self.own) + "\n".join(rows) + "\n"
        (self.own / "etc" / "slurm.conf").write_text(conf, encoding="utf-8")
        (self.own / "etc" / "gres.conf").write_text(_GPU, encoding="utf-8")
        (self.own / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{host.ip} {host.name}\n" for host in self.hosts.all), encoding="utf-8"
        )
        for host in self.hosts.all:
            host.bind(self.own / "hosts", Path("/etc/hosts"))
            host.bind(self.own / "etc", Path("/etc/slurm"))
        (self.own / "munge.key").write_bytes(os.urandom(128))
        (self.own / "munge.key").chmod(0o600)
        munge = [f"--{name}-file={self.own}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._start(self.controller, "munged", "--foreground", "--force", f"--socket={self.own}/munge.socket", *munge)
        wait_until((self.own / "munge.socket").exists, "munge", within_s=30)
        self._start(self.controller, "slurmctld", "-D")
        for node in self.nodes:
            self._start(node, "slurmd", "-D", "-N", node.name)
        wait_until(lambda: len(self.ready()) == len(self.nodes), f"idle nodes (see {self.own})", within_s=90)
        return self

    def __exit__(self, *error: object) -> None:
        """Hosts end all that runs on them."""

    def call(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Runs one of SLURM's commands where users log in; returns what it prints."""
        done = subprocess.run(
            [*self.controller.inside, "env", "-C", str(cwd or self.own), *command],
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def ready(self) -> list[str]:
        """Names of idle nodes."""
        return self.call("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N").split()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM says of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def hosts_of(self, number: str) -> list[Host]:
        """Where a job runs; the first is its batch host."""
        names = self.call("scontrol", "show", "hostnames", self.job(number)["NodeList"]).split()
        return [next(node for node in self.nodes if node.name == name) for name in names]

    def left_on(self, host: Host) -> list[str]:
        """What jobs have left on a node."""
        return [command for command in host.processes() if not command.startswith("slurmd ")]

    def await_end(self, number: str, *, within_s: float) -> str:
        """Waits until a job ends for good; returns its state."""
        end_s = time.monotonic() + within_s
        while (state := self.job(number)["JobState"]) in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < end_s, f"job {number} is {state} after {within_s:g} s"
            time.sleep(1)
        return state

    def _start(self, host: Host, *command: str) -> None:
        with (self.own / f"{host.name}-{command[0]}.txt").open("w") as output:
            subprocess.Popen([*host.inside, *command], stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
