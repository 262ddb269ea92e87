"""The hooks before a commit are the checks of `make check`, and the pictures can be drawn by today's code."""

import re
from pathlib import Path

from ruamel.yaml import YAML

from docs.pictures import scripted, terminal_svg
from search.experiment.experiment import load

ROOT = Path(__file__).parents[2]


def recipe(target: str) -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", makefile, re.MULTILINE)[1]
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines.splitlines()]


def test_the_hooks_before_a_commit_are_the_checks():
    config = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")
    hooks = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert hooks == recipe("check") + recipe("docs")


def test_ci_runs_what_a_contributor_can_run():
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "ci.yml")
    commands = [step.get("run") for step in workflow["jobs"]["ci"]["steps"]]
    assert ".ci/run" in commands


def test_the_pictures_can_be_drawn():
    experiment = load(ROOT / "experiments" / "demo.yaml")
    records = scripted(experiment)
    assert "demo" in terminal_svg(experiment, records)
