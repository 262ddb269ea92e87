"""carsearch simulate: a table from a file of curves, and its errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from search.cli.app import app
from search.errors import CurvesError
from search.experiment.experiment import load
from search.simulator.curves import Curve, CurvePoint, write_curves
from tests.helpers.search.tiny import EXPERIMENT

TRAININGS = 12


def whole(params: dict[str, object], value: float, *, is_baseline: bool) -> Curve:
    """Three epochs of ten minutes; the head reveals the final accuracy."""
    stages = ((0, False, value / 2), (0, True, value / 2), (1, True, value))
    points = tuple(CurvePoint(stage, ended, at, 1.0, at, 1.0, 600.0) for stage, ended, at in stages)
    return Curve(params, 0, 2, points, is_baseline=is_baseline)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Curve]:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    experiment = load(Path("tiny.yaml"))
    rng = np.random.default_rng(0)
    points = [dict(experiment.baseline), *(experiment.space.sample(rng) for _ in range(TRAININGS - 1))]
    curves = [whole(params, 0.5 + 0.04 * at, is_baseline=at == 0) for at, params in enumerate(points)]
    write_curves(Path("curves.gz"), curves, name="tiny")
    return curves


def simulate(*arguments: str):
    always = ["simulate", "tiny.yaml", "--curves", "curves.gz", "--seeds", "3", "--workers", "1"]
    return CliRunner().invoke(app, [*always, *arguments])


def rows(stdout: str) -> dict[str, list[str]]:
    lines = stdout.splitlines()
    title = next(at for at, line in enumerate(lines) if line.split()[:2] == ["rungs", "holdout"])
    return {line.split()[0]: line.split()[1:] for line in lines[title + 1 :]}


def test_a_row_for_each_kind_of_rungs(recorded) -> None:
    done = simulate("--budget-trainings", "4")

    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:3] == [
        "12 recorded configurations; mean full training: 30 min",
        "budget: 2 h 00 min of all workers' training = 4.0 full trainings; workers: 1",
        "means over 3 searches by tpe; no finals; the best 1/N of a stage continue",
    ]
    found = rows(done.stdout)
    assert list(found) == ["2", "3", "4", "adaptive-3", "none"]
    assert found["none"][2:4] == ["4.0", "4.0"], "without rungs four are started and finished"
    assert all(float(row[2]) > float(row[3]) for name, row in found.items() if name != "none")
    assert all(0.5 <= float(row[0]) <= 0.94 and float(row[1]) >= 0 for row in found.values())
    assert "warning" not in done.stderr


def test_the_first_rung_is_the_experiments(recorded) -> None:
    late = rows(simulate("--budget-trainings", "4", "--set", "search.scheduler.first_rung=9").stdout)
    assert late["2"] == late["adaptive-3"] == late["none"]


def test_a_budget_that_outlasts_the_recording_says_so(recorded) -> None:
    done = simulate("--hours", "100", "--rungs", "none")

    found = rows(done.stdout)
    assert found == {"none": ["0.9400", "0.0000", "12.0", "12.0", "6", "h", "00", "min", *found["none"][8:]]}
    assert "used all recorded configurations" in done.stderr


def test_one_search_has_no_standard_error(recorded) -> None:
    done = simulate("--seeds", "1", "--rungs", "3", "--hours", "1")
    assert rows(done.stdout)["3"][1] == "-"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "1", "--budget-trainings", "2"], "not both"),
        (["--rungs", "1"], "2 or more, or none"),
        (["--rungs", "adaptive-1"], "found 'adaptive-1'"),
        (["--rungs", "many"], "found 'many'"),
    ],
)
def test_options_that_mean_nothing_are_refused(recorded, arguments: list[str], message: str) -> None:
    done = simulate(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_curves_of_another_space_are_named_with_file_line_and_parameter(recorded) -> None:
    params = dict(recorded[4].params) | {"train.head.dropout": 0.75}
    write_curves(Path("curves.gz"), [*recorded[:4], replace(recorded[4], params=params)], name="tiny")

    error = simulate().exception
    assert isinstance(error, CurvesError)
    assert str(error).startswith(
        "curves.gz:6: train.head.dropout: 0.75 is outside uniform [0, 0.5] (the space of tiny.yaml)"
    )


@pytest.mark.parametrize(
    ("kept", "message"),
    [(0, "curves.gz: holds no curve"), (1, "no recorded training reached its end")],
)
def test_nothing_to_simulate_is_an_error(recorded, kept: int, message: str) -> None:
    broken = [replace(curve, infeasible=True, points=curve.points[:1]) for curve in recorded]
    write_curves(Path("curves.gz"), broken[:kept], name="tiny")

    error = simulate().exception
    assert isinstance(error, CurvesError)
    assert message in str(error)
