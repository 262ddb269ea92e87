"""A search on hosts that share nothing but `results`: each has its own photos and store."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from search.experiment.node_store import results_folder
from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from tests.helpers.network.hosts import Host, Hosts
from tests.helpers.network.s3_server import S3Server
from tests.helpers.search.processes import wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

Values = list[tuple[Mapping[str, object], list[float]]]

HEAD_EPOCHS = 25
"""Enough for a new node's first process to start meanwhile: Tune gives a waiting segment to the first free process."""
TEXT = (
    EXPERIMENT.replace("  max_concurrent: 1\n", "")
    .replace("trials: 4", "trials: 6")
    .replace("epochs: 2,", f"epochs: {HEAD_EPOCHS},")
)
SAME_AT_ONCE = (
    TEXT.replace("trials: 6", "trials: 4\n  sampler: random")
    .replace("asha, reduction_factor: 3", "none")
    .replace(f"epochs: {HEAD_EPOCHS},", "epochs: 16,")
)
"""An experiment whose study is the same in whichever order its trials end."""


class Place:
    """The experiment's folder and the hosts."""

    def __init__(self, cwd: Path, hosts: Hosts, text: str = TEXT) -> None:
        self.cwd, self.hosts = cwd, hosts
        self.folder = StudyFolder(cwd / "results" / "tiny")
        write_tiny(cwd, text.replace("tta:", f"store: {{root: {cwd / 'store'}}}\ntta:"))
        for seen in (cwd / "results", cwd / "store"):
            seen.mkdir()

    def add(
        self,
        *options: str,
        photos: bool = True,
        cpus: int = 1,
        own_processes: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Host:
        """A host with its own store, and with its own photos or an empty folder; Ray is started there."""
        host = self.hosts.add(own_processes=own_processes)
        for name in ("store", "photos"):
            (host.own / name).mkdir()
        if photos:
            shutil.copytree(self.cwd / "data", host.own / "photos", dirs_exist_ok=True)
        host.bind(host.own / "store", self.cwd / "store")
        host.bind(host.own / "photos", self.cwd / "data")
        host.start_ray(self.hosts.head, *options, cpus=cpus, env=env)
        return host

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        command = ("run", "tiny.yaml", "--address", self.hosts.address, *arguments)
        return self.hosts.head.start_cli(*command, cwd=self.cwd)

    def output(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8")

    def records(self) -> tuple[TrialRecord, ...]:
        return recorded(self.folder)

    def await_trial_on(self, host: Host, *, before: int = 8, within_s: float = 150.0) -> int:
        """Number of a trial in the middle of its first stage on that host, with fewer epochs than `before`."""
        found: list[int] = []

        def is_there() -> bool:
            found.extend(
                record.number
                for record in self.records()
                if record.node == host.name and record.state is TrialState.RUNNING and 1 <= record.fidelity < before
            )
            return bool(found)

        wait_until(is_there, f"a trial in its middle on {host.name}", within_s=within_s)
        return found[0]

    def await_epochs(self, driver: "subprocess.Popen[str]", count: int) -> None:
        """Waits until so many epochs of all trials are recorded."""

        def are_there() -> bool:
            assert driver.poll() is None, self.output()
            return sum(record.fidelity for record in self.records()) >= count

        wait_until(are_there, f"{count} recorded epochs")


class BucketPlace(Place):
    """Hosts that share nothing but an S3 server, which has a host of its own."""

    def __init__(self, cwd: Path, hosts: Hosts, text: str, store: Path) -> None:
        """store: a path below `cwd`, where each host has a folder of its own, as it has of `cwd` itself."""
        self.cwd, self.hosts, self._store = cwd, hosts, store
        write_tiny(cwd, text)
        hosts.add()
        self.storage = hosts.add()
        self.server = S3Server(cwd, inside=self.storage.inside, ip=self.storage.ip)
        self.url = self.server.url("studies")
        self.begin(hosts.head)
        with (self.own(hosts.head) / "tiny.yaml").open("a", encoding="utf-8") as file:
            file.write(f"results: {self.url}\n")
        self.folder = self.mirror(hosts.head)

    def own(self, host: Host) -> Path:
        """What a host sees in place of `cwd`."""
        return host.own / "cwd"

    def mirror(self, host: Host) -> StudyFolder:
        """The folder in which a driver on that host works."""
        seen = results_folder(self.url) / "tiny"
        return StudyFolder(self.own(host) / seen.relative_to(self.cwd))

    def add(
        self,
        *options: str,
        photos: bool = True,
        cpus: int = 1,
        own_processes: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Host:
        """Ray on another host; the first time on the head."""
        host = self.hosts.head
        if host.process is not None:
            host = self.hosts.add(own_processes=own_processes)
            self.begin(host, photos=photos)
        host.start_ray(self.hosts.head, *options, cpus=cpus, env=env)
        return host

    def begin(self, host: Host, *, photos: bool = True) -> None:
        """Gives a host its own folders."""
        own = self.own(host)
        (own / self._store.relative_to(self.cwd)).mkdir(parents=True)
        shutil.copy(self.cwd / "tiny.yaml", own)
        if photos:
            shutil.copytree(self.cwd / "data", own / "data")
        host.bind(own, self.cwd)


def recorded(folder: StudyFolder) -> tuple[TrialRecord, ...]:
    """Empty if there is no study yet."""
    return read_records(folder) if folder.log.exists() else ()


def values(records: tuple[TrialRecord, ...]) -> Values:
    """Parameters and log-loss of each epoch, by trial: equal for equal searches."""
    return [(record.params, [report.val_log_loss for report in record.reports]) for record in records]
