"""README.md: its commands run, its experiment file loads, and it stays short.

Each command line of a shell block is looked up in a table: run here on drawn cars, or only checked to exist, with the
reason. A line that the table does not know fails, so that a new command cannot go untested.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from carcls.demo.sample import write_sample
from search.cli.app import app
from search.experiment.experiment import load
from tests.helpers.search.tiny import EXPERIMENT

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

RUN = "run"
"""In the test below, in the README's order."""

CASES = {
    "make demo": "takes minutes on idle cores; the commands below it run the same steps on fewer photos",
    "make test": "would run itself",
    "source .venv/bin/activate": "of the shell; the test runs the environment that it is called from",
    "carsearch data check data/mycars": RUN,
    "cp experiments/cars10.yaml experiments/mycars.yaml": RUN,
    "carsearch check --here experiments/mycars.yaml": RUN,
    "carsearch run experiments/mycars.yaml": RUN,
    "carsearch run data/mycars": "does the steps below in one; tests/search/cli/test_start.py runs it",
    "carsearch retrain results/mycars": RUN,
    "carsearch predict results/mycars/retrain/model.keras photo.jpg": RUN,
    "carsearch status results/mycars": RUN,
    "carsearch resume results/mycars": RUN,
    "carsearch submit results/mycars": RUN,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Lines of shell blocks, then `carsearch ...` in the running text, without comments."""
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line] + re.findall(r"`(carsearch \w+ [^`]*)`", README)


def test_every_command_is_known():
    assert sorted(commands()) == sorted(CASES)


@pytest.mark.parametrize("command", [command for command in CASES if command.startswith("make ")])
def test_a_make_target_exists(command):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert command.split()[1] in targets


@pytest.mark.parametrize("command", [command for command in CASES if command.startswith("carsearch ")])
def test_a_command_exists(command):
    found = typer.main.get_command(app)
    for word in shlex.split(command)[1:]:
        if not hasattr(found, "commands"):
            break
        found = found.commands[word]
    assert not hasattr(found, "commands"), f"{command}: names a group of commands only"


def test_the_experiment_file_loads(tmp_path):
    [text] = blocks("yaml")
    file = tmp_path / "mycars.yaml"
    file.write_text(text, encoding="utf-8")
    assert load(file).name == "mycars"


def test_its_pictures_are_here_and_fetch_nothing():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()
        if not picture.endswith(".svg"):
            continue
        drawn = (ROOT / picture).read_text(encoding="utf-8")
        assert "@font-face" not in drawn
        assert not re.search(r"(?:href|src)\s*=\s*[\"']https?:", drawn)


def test_it_is_short():
    assert len(README.split()) <= 900


@pytest.mark.timeout(1800)  # eight commands, on a busy machine
@pytest.mark.slow  # a search, a final training and a prediction: a minute or two on two idle cores
def test_the_commands_run_one_after_another(tmp_path):
    """In a folder of its own, with few drawn cars: the copied file is then edited as the README tells to."""
    write_sample(tmp_path / "data" / "mycars", classes=3, train_per_class=12, test_per_class=2)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    photo = next((tmp_path / "data" / "mycars" / "train").rglob("*.jpg"))
    shutil.copy(photo, tmp_path / "photo.jpg")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PYTHONPATH": str(ROOT), "PATH": path}
    for command in (command for command in commands() if CASES[command] is RUN):
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command.startswith("cp "):
            edited = EXPERIMENT.replace("name: tiny", "name: mycars").replace("root: data,", "root: data/mycars,")
            (tmp_path / "experiments" / "mycars.yaml").write_text(edited, encoding="utf-8")
    assert (tmp_path / "results" / "mycars" / "report.html").exists()
    assert (tmp_path / "results" / "mycars" / "submission.csv").exists()
