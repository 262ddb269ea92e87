"""A full disk and lost checkpoints under a real search: its decisions stay the same."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from tests.helpers.search.processes import (
    WAIT_S,
    descendants,
    is_alive,
    kill,
    parent_of,
    run_cli,
    start_cli,
    wait_until,
)
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import write_tiny

pytestmark = pytest.mark.fault

MOUNT = 'mount -t tmpfs -o size=64m none "$PWD/results"'
SESSION = f"""
{MOUNT} || exit 99
"$PYTHON" -m search.cli run tiny.yaml --set search.checkpoints.full_disk_minutes=0.1 > first.txt 2>&1
echo $? > first.code
while [ ! -e go ]; do sleep 0.2; done
"$PYTHON" -m search.cli resume "$PWD/results/tiny" --set search.checkpoints.full_disk_minutes=60 > second.txt 2>&1
echo $? > second.code
cp -a results/tiny kept
"""
LEFT_BYTES = 192 * 1024
"""Enough for what the driver writes after an epoch, too little for the checkpoint of an unfrozen stage."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
"""Allocation unit of a file on a tmpfs."""


@dataclass
class SmallDisk:
    """Two consecutive runs of the command, whose results are on a private file system of 64 MB."""

    cwd: Path
    process: subprocess.Popen[bytes]

    @property
    def results(self) -> Path:
        return Path(f"/proc/{self.process.pid}/root") / self.cwd.relative_to("/") / "results"

    @property
    def folder(self) -> StudyFolder:
        return StudyFolder(self.results / "tiny")

    def records(self) -> tuple[TrialRecord, ...]:
        """The study's current records."""
        look = StudyFolder(self.cwd / "look")  # outside its mount, the study's own path is another folder
        look.root.mkdir(exist_ok=True)
        look.log.write_bytes(self.folder.log.read_bytes())
        return read_records(look)

    def text(self, name: str) -> str:
        path = self.cwd / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def fill(self, *, left_bytes: int = LEFT_BYTES) -> None:
        found = os.statvfs(self.results)
        (self.results / "ballast").write_bytes(bytes(found.f_bavail * found.f_frsize - left_bytes))

    def end_the_journals_page(self) -> None:
        """Fills the journal's last page, so that the next append needs another one. No process may be writing."""
        line = '{"op_code":2,"worker_id":"test","study_id":0,"user_attr":{"padding":"%s"}}\n'
        taken = self.folder.log.stat().st_size + len(line % "")
        with self.folder.log.open("a", encoding="utf-8") as journal:
            journal.write(line % ("x" * (-taken % PAGE_BYTES)))
        assert self.folder.log.stat().st_size % PAGE_BYTES == 0

    def driver(self) -> int:
        """The process id of the running command."""
        below = descendants(self.process.pid)
        return next(pid for pid in below if parent_of(pid) == self.process.pid and "search.cli" in below[pid])

    def make_room(self) -> None:
        (self.results / "ballast").unlink()

    def epochs(self) -> int:
        log = self.folder.log
        return log.read_text(encoding="utf-8", errors="replace").count('{"report:') if log.exists() else 0

    def wait(self, condition, what: str) -> None:
        def holds() -> bool:
            held = condition()
            texts = self.text("first.txt") + self.text("second.txt")
            assert held or self.process.poll() is None, f"ended before {what}:\n{texts}"
            return held

        wait_until(holds, what)


@pytest.fixture
def small_disk(finished: Ran, tmp_path: Path):
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    (tmp_path / "results").mkdir()
    unshared = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshared, MOUNT], cwd=tmp_path, check=False).returncode:
        pytest.skip("no filesystem can be mounted here")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHON": sys.executable}
    process = subprocess.Popen([*unshared, SESSION], cwd=tmp_path, env=environment, start_new_session=True)
    yield SmallDisk(tmp_path, process)
    kill({process.pid, *descendants(process.pid)} if is_alive(process.pid) else ())
    process.wait()


def test_a_full_disk_stops_a_search_cleanly(small_disk: SmallDisk, finished: Ran) -> None:
    disk = small_disk
    second_attempt = disk.folder.trial(0) / "attempt-1"
    disk.wait(second_attempt.exists, "the baseline's unfrozen stage")
    disk.fill()
    disk.wait(lambda: bool(disk.text("first.code").strip()), "an end to the first run")

    told, before = disk.text("first.txt"), disk.records()
    assert disk.text("first.code").strip() != "0"
    assert "Traceback" not in told
    assert "trial 0 found no room on a disk and waits" in told
    assert told.count("needed for another segment") == 1, told
    assert f"carsearch resume {disk.cwd / 'results' / 'tiny'}" in told
    assert all(record.deaths == () for record in before), "a full disk is not a death"
    assert not list(disk.folder.trials.rglob(".*.npz")), "no partial files are left"

    disk.make_room()
    (disk.cwd / "go").touch()
    disk.wait(lambda: disk.epochs() >= sum(record.fidelity for record in before) + 3, "three epochs more")
    disk.fill()
    disk.wait(lambda: "needed for another segment" in disk.text("second.txt"), "a pause")
    disk.make_room()
    assert disk.process.wait(timeout=WAIT_S) == 0

    assert disk.text("second.code").strip() == "0", disk.text("second.txt")
    assert "there is room again, the search continues" in disk.text("second.txt")
    after = read_records(StudyFolder(disk.cwd / "kept"))
    for old in before:
        assert after[old.number].reports[: old.fidelity] == old.reports, "no finished epoch is trained again"
    assert timeless(after, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_a_journal_without_room_ends_the_search_with_one_line(small_disk: SmallDisk, finished: Ran) -> None:
    disk, driver = small_disk, 0
    attempt = disk.folder.trial(0) / "attempt-1"
    try:
        disk.wait(attempt.exists, "the baseline's unfrozen stage")
        driver = disk.driver()
        os.kill(driver, signal.SIGSTOP)  # it receives the epoch once the disk is full, and then has to record it
        disk.wait(lambda: any(attempt.glob("epoch-*.npz")), "the checkpoint of an unrecorded epoch")
        disk.end_the_journals_page()
        disk.fill(left_bytes=PAGE_BYTES)  # for the probabilities of the epoch, which are written first
    finally:
        if driver:
            os.kill(driver, signal.SIGCONT)
    disk.wait(lambda: bool(disk.text("first.code").strip()), "an end to the first run")

    told, before = disk.text("first.txt"), disk.records()
    assert disk.text("first.code").strip() == "2"
    assert "Traceback" not in told
    last = told.rstrip().splitlines()[-1]
    log, root = disk.cwd / "results" / "tiny" / "study.log", disk.cwd / "results" / "tiny"
    assert last.startswith(f"carsearch: {log}: no room left on its disk (No space left on device; 0.0 MB free)"), told
    assert last.endswith(f"then resume with 'carsearch resume {root}'"), last
    assert told.count("no room left") == 1, told
    assert [record.fidelity for record in before] == [2], "nothing of the epoch without room is recorded"

    disk.make_room()
    (disk.cwd / "go").touch()
    assert disk.process.wait(timeout=WAIT_S) == 0
    assert disk.text("second.code").strip() == "0", disk.text("second.txt")
    after = read_records(StudyFolder(disk.cwd / "kept"))
    assert after[0].reports[:2] == before[0].reports, "no finished epoch is trained again"
    assert after[0].deaths == (), "a full disk is not a death"
    assert timeless(after, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_torn_and_lost_checkpoints_cost_only_their_epochs(finished: Ran, tmp_path: Path) -> None:
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    folder = StudyFolder(tmp_path / "results" / "tiny")

    def killed_after(epochs: int, *arguments: str) -> None:
        driver = start_cli(*arguments, cwd=tmp_path)
        try:
            wait_until(
                lambda: folder.log.exists() and folder.log.read_text(encoding="utf-8").count('{"report:') >= epochs,
                f"{epochs} epochs",
            )
        finally:
            below = set(descendants(driver.pid))
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in below), "an end to all processes of the study")

    killed_after(2, "run", "tiny.yaml")
    last = folder.trial(0) / read_records(folder)[0].reports[-1].checkpoint
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    goes_on = min(one.number for one in finished.records if one.number and one.state is TrialState.COMPLETE)
    killed_after(4 + 2 * goes_on, "resume", str(folder.root))  # its head is trained, and no other has gone on
    told = (tmp_path / "output.txt").read_text(encoding="utf-8")
    assert "trial 0: " in told
    assert "not a complete checkpoint" in told
    assert "resumes from attempt-0/epoch-0001.npz" in told
    records = read_records(folder)
    for path in folder.trials.rglob("*.npz"):
        path.unlink()
    resumed = run_cli("resume", str(folder.root), cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"trial {goes_on}: " in resumed.stdout + resumed.stderr
    assert "starts again" in resumed.stdout + resumed.stderr
    after = read_records(folder)
    assert {0, goes_on} <= {record.number for record in after if record.fallbacks}
    for old in records:
        if after[old.number].attempts == old.attempts:
            assert after[old.number].reports == old.reports, "recorded epochs stay as they were"
    assert timeless(after, uninterrupted=False) == timeless(finished.records, uninterrupted=False)
