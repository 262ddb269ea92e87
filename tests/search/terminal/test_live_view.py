"""The terminal's screen after a live view, with all lines printed meanwhile."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.search.screen import Terminal

SCRIPT = ROOT / "tests" / "helpers" / "search" / "live_script.py"
LOGGED = ("building features 126/698", "search.budget.hours are used up")
ASKED = "carsearch: stopping after this epoch; Ctrl-C again stops now"
PRINTED = ("printed by a library", "written by a C library")
HEADER = "trial  stage"


@pytest.fixture
def begun(tmp_path: Path) -> Iterator:
    opened = []

    def begin(columns: int, rows: int = 30) -> Terminal:
        opened.append(Terminal([sys.executable, str(SCRIPT)], cwd=tmp_path, columns=columns, rows=rows))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()


def _shows(terminal: Terminal, *texts: str) -> bool:
    terminal.read(0.05)
    return all(text in terminal.screen.text for text in texts)


def _once(terminal: Terminal, *texts: str) -> None:
    counts = {text: terminal.screen.text.count(text) for text in texts}
    assert counts == dict.fromkeys(texts, 1), terminal.screen.text


@pytest.mark.parametrize("columns", [80, 160])
def test_all_that_is_said_stays_above_one_table(begun, tmp_path: Path, columns: int) -> None:
    terminal = begun(columns)
    terminal.read_until(lambda: _shows(terminal, "0001"), "the table")
    (tmp_path / "log").touch()
    terminal.read_until(lambda: _shows(terminal, ASKED), "the notice")
    (tmp_path / "more").touch()
    terminal.read_until(lambda: _shows(terminal, "0002", *PRINTED), "the second trial")
    terminal.read(1.0)  # redraws, which erased what was written past them
    _once(terminal, *LOGGED, ASKED, *PRINTED, HEADER, "cars: ")
    lines = terminal.screen.lines
    assert lines.index(ASKED) < next(number for number, line in enumerate(lines) if line.startswith("cars: "))
    (tmp_path / "end").touch()
    assert terminal.end() == 0
    _once(terminal, "before the view", *LOGGED, ASKED, *PRINTED, HEADER, "cars: ", "after the view")
    assert terminal.screen.lines[-1] == "after the view"


@pytest.mark.parametrize(("before", "after"), [((160, 40), (80, 24)), ((80, 24), (160, 40)), ((80, 40), (80, 20))])
def test_a_resize_leaves_no_old_table_and_loses_no_notice(begun, tmp_path: Path, before, after) -> None:
    terminal = begun(*before)
    terminal.read_until(lambda: _shows(terminal, "0001"), "the table")
    (tmp_path / "log").touch()
    terminal.read_until(lambda: _shows(terminal, ASKED), "the notice")
    drawn = terminal.raw.count("\x1b[2J")
    terminal.resize(*after)
    terminal.read_until(lambda: terminal.raw.count("\x1b[2J") > drawn, "a redraw")
    (tmp_path / "more").touch()
    terminal.read_until(lambda: _shows(terminal, "0002", *PRINTED), "the second trial")
    _once(terminal, *LOGGED, ASKED, *PRINTED, HEADER, "cars: ")
    (tmp_path / "end").touch()
    assert terminal.end() == 0
    _once(terminal, *LOGGED, ASKED, *PRINTED, HEADER, "cars: ", "after the view")


def test_keys_that_are_pressed_move_nothing(begun, tmp_path: Path) -> None:
    terminal = begun(80)
    terminal.read_until(lambda: _shows(terminal, "0001"), "the table")
    terminal.press("abc\n\n")
    (tmp_path / "log").touch()
    terminal.read_until(lambda: _shows(terminal, ASKED), "the notice")
    (tmp_path / "more").touch()
    (tmp_path / "end").touch()
    assert terminal.end() == 0
    _once(terminal, "before the view", HEADER, "cars: ", "after the view")
    assert "abc" not in terminal.raw


def test_a_terminal_that_hangs_up_ends_nothing(begun, tmp_path: Path) -> None:
    """The work continues to its end although output fails."""
    terminal = begun(80)
    terminal.read_until(lambda: _shows(terminal, "0001"), "the table")
    for name in ("log", "more", "end"):
        (tmp_path / name).touch()
    terminal.hang_up()
    assert terminal.process.wait(timeout=60) == 0
