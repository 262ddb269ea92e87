"""Whole searches as users see them: on a terminal, before and after Ctrl-C, and after their reader has gone."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.policy.records import TrialState
from search.study.folder import StudyFolder
from tests.helpers.search.processes import children_below, descendants, is_alive, kill, wait_until
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.screen import Terminal, carsearch
from tests.helpers.search.tiny import write_tiny

pytestmark = pytest.mark.fault

CTRL_C = "\x03"
ASKED = "carsearch: stopping after this epoch; Ctrl-C again stops now"


@pytest.fixture
def place(finished: Ran, tmp_path: Path) -> Path:
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    return tmp_path


@pytest.fixture
def on_terminal(place: Path) -> Iterator:
    opened = []

    def begin(columns: int, rows: int) -> Terminal:
        opened.append(Terminal(carsearch("run", "tiny.yaml"), cwd=place, columns=columns, rows=rows))
        return opened[-1]

    yield begin
    for terminal in opened:
        below = descendants(terminal.process.pid)
        terminal.close()
        kill(pid for pid in below if is_alive(pid))


def _study(place: Path) -> StudyFolder:
    return StudyFolder(place / "results" / "tiny")


def _epochs(place: Path) -> int:
    log = _study(place).log
    return log.read_text(encoding="utf-8", errors="replace").count('{"report:') if log.exists() else 0


def _in_an_epoch(terminal: Terminal, place: Path) -> None:
    """Waits for a trial's process that has just started, after the first epoch of the search."""
    terminal.read_until(lambda: _epochs(place) >= 1, "an epoch")
    before = children_below(terminal.process.pid)
    terminal.read_until(lambda: bool(children_below(terminal.process.pid) - before), "another trial's process")


def _table_once(terminal: Terminal) -> None:
    headers = [line for line in terminal.screen.lines if line.startswith("tiny: ")]
    assert len(headers) == 1, terminal.screen.text


def test_a_search_leaves_one_table_and_its_result(on_terminal, place: Path, finished: Ran) -> None:
    terminal = on_terminal(160, 40)
    _in_an_epoch(terminal, place)
    terminal.resize(80, 30)
    assert terminal.end() == 0
    _table_once(terminal)
    assert "report: " in terminal.screen.text
    assert timeless(read_records(_study(place))) == timeless(finished.records)


@pytest.mark.parametrize("columns", [80, 160])
def test_the_answer_to_ctrl_c_stays_on_the_screen(on_terminal, place: Path, columns: int) -> None:
    terminal = on_terminal(columns, 30)
    _in_an_epoch(terminal, place)
    had = _epochs(place)
    terminal.press(CTRL_C)
    terminal.read_until(lambda: ASKED in terminal.screen.text, "the answer", within_s=5.0)
    assert terminal.end() == 130
    _table_once(terminal)
    assert terminal.screen.text.count(ASKED) == 1
    joined = "".join(line.ljust(columns) for line in terminal.screen.lines)
    assert f"carsearch resume {_study(place).root}" in joined, "wrapped at the end of the terminal's lines"
    assert _epochs(place) == had + 1, "the running epoch is recorded"
    assert TrialState.RUNNING not in {record.state for record in read_records(_study(place))}


def test_a_second_ctrl_c_is_answered_and_does_not_wait(on_terminal, place: Path) -> None:
    terminal = on_terminal(80, 30)
    _in_an_epoch(terminal, place)
    stuck = max(children_below(terminal.process.pid))
    os.kill(stuck, signal.SIGSTOP)  # its epoch never ends
    terminal.press(CTRL_C)
    terminal.read_until(lambda: ASKED in terminal.screen.text, "the answer", within_s=5.0)
    terminal.press(CTRL_C)
    assert terminal.end() == 130
    assert terminal.screen.text.index(ASKED) < terminal.screen.text.index("carsearch: stopping now")
    assert "Traceback" not in terminal.raw
    wait_until(lambda: not is_alive(stuck), "an end to the stuck epoch", within_s=10.0)


@pytest.fixture
def piped(place: Path) -> Iterator[subprocess.Popen[str]]:
    """`carsearch run` with its standard output in a pipe."""
    with (place / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            carsearch("run", "tiny.yaml"),
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    yield process
    below = descendants(process.pid)
    kill([process.pid, *(pid for pid in below if is_alive(pid))])
    process.wait()


def test_a_search_survives_its_reader(piped, place: Path, finished: Ran) -> None:
    """`carsearch run FILE | head -1`."""
    assert piped.stdout.readline().startswith("trial 0000 started (baseline)")
    piped.stdout.close()
    assert piped.wait(timeout=240) == 0, (place / "errors.txt").read_text()
    assert timeless(read_records(_study(place))) == timeless(finished.records)
    assert "Traceback" not in (place / "errors.txt").read_text()


def test_after_its_reader_died_ctrl_c_still_records_the_epoch(piped, place: Path) -> None:
    """`carsearch run FILE | tee LOG` after `tee` was killed: a terminal's Ctrl-C may kill it before us."""
    wait_until(lambda: _epochs(place) >= 1, "an epoch")
    piped.stdout.close()
    before = children_below(piped.pid)
    wait_until(lambda: bool(children_below(piped.pid) - before), "another trial's process")
    had = _epochs(place)
    os.killpg(piped.pid, signal.SIGINT)
    assert piped.wait(timeout=240) == 130
    errors = (place / "errors.txt").read_text()
    assert ASKED in errors
    assert f"carsearch resume {_study(place).root}" in errors
    assert "Traceback" not in errors
    assert _epochs(place) == had + 1
