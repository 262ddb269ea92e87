"""A search on hosts that share nothing but `results`: each has its own photos and store."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from search.policy.records import TrialRecord
from search.study.folder import StudyFolder
from tests.helpers.network.hosts import Host, Hosts
from tests.helpers.search.processes import wait_until
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

HEAD_EPOCHS = 25
"""Enough for a new node's first process to start meanwhile: Tune gives a waiting segment to the first free process."""
TEXT = (
    EXPERIMENT.replace("  max_concurrent: 1\n", "")
    .replace("trials: 4", "trials: 6")
    .replace("epochs: 2,", f"epochs: {HEAD_EPOCHS},")
)


class Place:
    """The experiment's folder and the hosts."""

    def __init__(self, cwd: Path, hosts: Hosts, text: str = TEXT) -> None:
        self.cwd, self.hosts = cwd, hosts
        self.folder = StudyFolder(cwd / "results" / "tiny")
        write_tiny(cwd, text.replace("tta:", f"store: {{root: {cwd / 'store'}}}\ntta:"))
        for seen in (cwd / "results", cwd / "store"):
            seen.mkdir()

    def add(self, *options: str, photos: bool = True, cpus: int = 1) -> Host:
        """A host with its own store, and with its own photos or an empty folder; Ray is started there."""
        host = self.hosts.add()
        for name in ("store", "photos"):
            (host.own / name).mkdir()
        if photos:
            shutil.copytree(self.cwd / "data", host.own / "photos", dirs_exist_ok=True)
        host.bind(host.own / "store", self.cwd / "store")
        host.bind(host.own / "photos", self.cwd / "data")
        host.start_ray(self.hosts.head, *options, cpus=cpus)
        return host

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        command = ("run", "tiny.yaml", "--address", self.hosts.address, *arguments)
        return self.hosts.head.start_cli(*command, cwd=self.cwd)

    def output(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8")

    def records(self) -> tuple[TrialRecord, ...]:
        return read_records(self.folder) if self.folder.log.exists() else ()

    def await_epochs(self, driver: "subprocess.Popen[str]", count: int) -> None:
        """Waits until so many epochs of all trials are recorded."""

        def are_there() -> bool:
            assert driver.poll() is None, self.output()
            return sum(record.fidelity for record in self.records()) >= count

        wait_until(are_there, f"{count} recorded epochs")


def values(records: tuple[TrialRecord, ...]) -> list[tuple[Mapping[str, object], list[float]]]:
    """Parameters and log-loss of each epoch, by trial: equal for equal searches."""
    return [(record.params, [report.val_log_loss for report in record.reports]) for record in records]
