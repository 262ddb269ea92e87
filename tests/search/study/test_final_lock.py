"""No other process trains or deletes a final training that is in use."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import StudyError
from search.study.final_lock import clear_retrain, retraining
from search.study.folder import StudyFolder

ROOT = Path(__file__).parents[3]
HOLD = """\
import sys
from pathlib import Path
from search.study.final_lock import retraining
from search.study.folder import StudyFolder
with retraining(StudyFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path)


@pytest.fixture
def holder(folder):
    """Another process that holds the lock until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder.root], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_held_elsewhere_is_reported_and_nothing_is_deleted(folder, holder):
    folder.scores.write_text("{}")
    for attempt in (lambda: clear_retrain(folder), lambda: retraining(folder).__enter__()):
        with pytest.raises(StudyError) as refused:
            attempt()
        assert str(refused.value) == (
            f"{folder.retrain} is in use by process {holder.pid} on {socket.gethostname()}: wait for it, or stop it"
        )
    assert folder.scores.exists()


def test_a_killed_process_frees_the_lock(folder, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with retraining(folder):
        assert f"process {os.getpid()}" in (folder.retrain / "driver.lock").read_text()


def test_the_lock_is_free_after_an_error(folder):
    with pytest.raises(RuntimeError), retraining(folder):
        raise RuntimeError
    with retraining(folder):
        pass


def test_clearing_keeps_the_lock_and_follows_no_link(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (folder.retrain / "attempt-0").mkdir(parents=True)
    (folder.retrain / "attempt-0" / "epoch-0001.npz").touch()
    (folder.retrain / "link").symlink_to(elsewhere)
    folder.model.touch()
    clear_retrain(folder)
    assert [entry.name for entry in folder.retrain.iterdir()] == ["driver.lock"]
    assert (elsewhere / "kept").exists()
