"""Files that every trial needs go missing during a real search: it waits, continues, and decides the same."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.policy.records import TrialState
from search.study.folder import StudyFolder
from tests.helpers.search.processes import WAIT_S, descendants, is_alive, kill, start_cli, wait_until
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

pytestmark = pytest.mark.fault

MOUNT = 'mount -t tmpfs -o size=64m none "$PWD/disk" && mkdir -p disk/results && mount --bind disk/results results'
SESSION = f"""
{MOUNT} || exit 99
"$PYTHON" -m search.cli run tiny.yaml > output.txt 2>&1 &
while [ ! -e take ]; do sleep 0.1; done
umount --lazy results && touch taken
while [ ! -e give ]; do sleep 0.1; done
mount --bind disk/results results
wait $!
echo $? > code
cp -a results/tiny kept
"""
IS_BACK = "the missing files are back, the search continues"


@dataclass
class Searching:
    """A running search and its output."""

    cwd: Path
    driver: "subprocess.Popen[str]"

    @property
    def folder(self) -> StudyFolder:
        return StudyFolder(self.cwd / "results" / "tiny")

    @property
    def said(self) -> str:
        return (self.cwd / "output.txt").read_text(encoding="utf-8")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            held = condition()
            assert held or self.driver.poll() is None, f"ended before {what}:\n{self.said}"
            return held

        wait_until(holds, what)

    def epochs(self) -> int:
        return self.folder.log.read_text(encoding="utf-8").count('{"report:') if self.folder.log.exists() else 0

    def take_away(self, path: Path, *, after_epochs: int, says: str) -> None:
        """Takes a path away until the search says that it waits; then waits until the search continues."""
        self.wait(lambda: self.epochs() >= after_epochs, f"epoch {after_epochs}")
        waits, goes_on = self.said.count(says), self.said.count(IS_BACK)
        elsewhere = path.rename(path.with_name("elsewhere"))
        self.wait(lambda: self.said.count(says) > waits, f"a word about {path.name}")
        elsewhere.rename(path)
        self.wait(lambda: self.said.count(IS_BACK) > goes_on, f"the search to continue with {path.name}")


@pytest.fixture
def searching(tmp_path: Path) -> Iterator[Callable[..., Searching]]:
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *overrides: str) -> Searching:
        write_tiny(tmp_path, text)
        sets = [part for override in overrides for part in ("--set", override)]
        started.append(start_cli("run", "tiny.yaml", *sets, cwd=tmp_path))
        return Searching(tmp_path, started[-1])

    yield start
    for driver in started:
        kill({driver.pid, *descendants(driver.pid)} if is_alive(driver.pid) else ())
        driver.wait()


def test_missing_split_and_photos_only_interrupt_trials(searching, finished: Ran) -> None:
    """Without the store, so that each segment opens photos."""
    search = searching(EXPERIMENT, "store.enabled=false")
    search.take_away(search.folder.split, after_epochs=1, says="split.csv: cannot be read")
    search.take_away(search.cwd / "data", after_epochs=4, says="DataError")
    split = search.folder.split.read_bytes()
    search.wait(lambda: search.epochs() >= 6, "epoch 6")
    search.folder.split.write_bytes(split[:-2] + bytes([split[-2] ^ 1]) + split[-1:])  # readable, but wrong
    search.wait(lambda: "split.csv: damaged" in search.said, "a word about the damage")
    search.folder.split.write_bytes(split)

    assert search.driver.wait(timeout=WAIT_S) == 0, search.said
    assert "Traceback" not in search.said
    assert search.said.count(" waits: ") == search.said.count(IS_BACK) == 3, "one line for each fault, one for its end"
    records = read_records(search.folder)
    assert all(record.deaths == () for record in records)
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def test_the_search_waits_for_missing_storage(finished: Ran, tmp_path: Path) -> None:
    """Like a network file system: open files stay open, but their names lead nowhere."""
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    for name in ("results", "disk"):
        (tmp_path / name).mkdir()
    unshared = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshared, MOUNT], cwd=tmp_path, check=False).returncode:
        pytest.skip("no filesystem can be mounted here")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHON": sys.executable}
    session = subprocess.Popen([*unshared, SESSION], cwd=tmp_path, env=environment, start_new_session=True)
    inside = tmp_path / "output.txt"
    log = Path(f"/proc/{session.pid}/root") / tmp_path.relative_to("/") / "results" / "tiny" / "study.log"

    def wait(condition: Callable[[], bool], what: str) -> None:
        wait_until(lambda: condition() or _ended(session, inside), what)

    try:
        wait(lambda: log.exists() and log.read_text(encoding="utf-8").count('{"report:') >= 1, "an epoch")
        (tmp_path / "take").touch()
        wait(lambda: "the search waits for it" in inside.read_text(encoding="utf-8"), "a word about the journal")
        assert list((tmp_path / "results").iterdir()) == [], "nothing is created in its place"
        (tmp_path / "give").touch()
        assert session.wait(timeout=WAIT_S) == 0
    finally:
        kill({session.pid, *descendants(session.pid)} if is_alive(session.pid) else ())
        session.wait()

    said = inside.read_text(encoding="utf-8")
    assert (tmp_path / "code").read_text(encoding="utf-8").strip() == "0", said
    assert "Traceback" not in said
    study = re.escape(str(tmp_path / "results" / "tiny"))  # of its files, whichever is written first is missed
    missed = re.findall(rf" ({study}/\S+): .*: the search waits for it", said)
    assert missed, said
    assert re.findall(r" (\S+) is back, the search continues", said) == missed
    records = read_records(StudyFolder(tmp_path / "kept"))
    assert all(record.deaths == () for record in records)
    assert timeless(records, uninterrupted=False) == timeless(finished.records, uninterrupted=False)


def _ended(session: "subprocess.Popen[bytes]", output: Path) -> bool:
    assert session.poll() is None, output.read_text(encoding="utf-8")
    return False


def test_the_search_waits_for_missing_weights(searching, tmp_path: Path) -> None:
    from carcls.models.sample_weights import PATH

    shutil.copy(PATH, tmp_path / "weights.npz")
    text = EXPERIMENT.replace("MobileNet\n", "MobileNetV2\n").replace("0.25\n", "0.35\n", 1)
    search = searching(text.replace("weights: none", f"weights: {tmp_path / 'weights.npz'}"), "search.trials=2")
    search.take_away(tmp_path / "weights.npz", after_epochs=1, says="weights.npz")
    assert search.driver.wait(timeout=WAIT_S) == 0, search.said
    assert TrialState.FAIL not in {record.state for record in read_records(search.folder)}
