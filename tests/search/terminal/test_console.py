"""Users' names neither control a terminal nor end a command."""

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.terminal.console import console, escape_field, printable, say, warn
from search.terminal.logs import PlainLines

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/red] [link=http://x]\r\u202egpj.exe\u2028\udcff"
SHOWN = r"\x1b]0;owned\x07\x1b[2J[red]x[/red] [link=http://x]\r\u202egpj.exe\u2028\udcff"


def test_what_a_terminal_would_obey_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    warn(HOSTILE)
    assert capsys.readouterr() == (SHOWN + "\n", SHOWN + "\n")


def test_lines_columns_and_every_script_stay() -> None:
    text = "a.jpg\tЛада Калина\t0.9750\n  \u4e2d\u6587 × – é e\u0301 \u00a0."
    assert printable(text) == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_can_show_any_name(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    say("Лада \udcff\x1b")
    expected = r"Лада \udcff\x1b" if encoding == "utf-8" else r"\u041b\u0430\u0434\u0430 \udcff\x1b"
    assert written.getvalue().decode(encoding) == expected + "\n"


@given(st.text(st.characters()))
def test_nothing_is_left_to_obey(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert all(char in "\n\t" or char >= " " for char in shown)
    assert not set(shown) & set("\x1b\x7f\x9b\u202e\u2028")


def test_a_logged_name_is_one_too() -> None:
    record = logging.LogRecord("search.on_ray.search", logging.WARNING, __file__, 1, "class %s", (HOSTILE,), None)
    assert PlainLines().format(record).endswith(f"WARNING search.on_ray.search: class {SHOWN}")


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_field_is_one_cell_of_one_line_and_tells_names_apart(one, other):
    assert not any(sign in escape_field(one) for sign in "\n\t\r\x1b\u2028")
    assert escape_field(one) == printable(escape_field(one))
    assert (escape_field(one) == escape_field(other)) == (one == other)


def test_a_plain_name_is_its_own_field():
    assert escape_field("новые/st. 12.jpg") == "новые/st. 12.jpg"
    assert escape_field("a\tb\nc\\d\x1b") == "a\\tb\\nc\\\\d\\x1b"


def test_nothing_is_redrawn_in_a_notebook(monkeypatch):
    """Its `!` gives commands a terminal, but shows every redraw below the last one."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert console().is_interactive
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not console().is_interactive
    assert not console().is_jupyter
