"""Every `carsearch ...` that the papers show is a command of today, with options that it has."""

import re
from pathlib import Path

import pytest
import typer.main

from search.cli.app import app
from tests.docs.test_named_files import PAPERS, ROOT, text_of

WORDS = re.compile(r"(?:^|`)carsearch ([a-z][^`\n]*)", re.MULTILINE)
"""In code only: at the start of a line of a block, or of a span. In running text carsearch is a name."""


def shown(paper: Path) -> list[str]:
    text = text_of(paper)
    blocks = re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`carsearch [^`\n]+`", text)
    return [line for part in blocks + spans for line in WORDS.findall(part)]


def problem(command: str) -> str | None:
    """What is wrong with a command's words, or None."""
    words = command.partition("  #")[0].split()
    found = typer.main.get_command(app)
    while words and hasattr(found, "commands"):
        if words[0] not in found.commands:
            return None if words[0] == "..." else f"{words[0]}: no such command"
        found = found.commands[words.pop(0)]
    known = {option for parameter in getattr(found, "params", ()) for option in parameter.opts}
    unknown = [word for word in words if re.fullmatch(r"--[a-z-]+", word) and word not in known]
    return f"{', '.join(unknown)}: no such option" if unknown else None


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_shown_commands_exist(paper):
    assert [(command, wrong) for command in shown(paper) if (wrong := problem(command))] == []


def test_the_papers_show_most_commands():
    commands = {command.split()[0] for paper in PAPERS for command in shown(paper)}
    assert {"run", "resume", "retrain", "check", "predict", "submit", "store", "data", "record", "simulate"} <= commands
    assert problem("runn x") == "runn: no such command"
    assert problem("run x --sett a") == "--sett: no such option"
