"""The notebooks are what notebooks/make.py writes, are small, and run on drawn cars."""

import csv
from pathlib import Path

import nbformat
import pytest

from notebooks.make import HERE, notebooks, run, sample

NAMES = ("kaggle", "colab")


def stored(name: str) -> nbformat.NotebookNode:
    return nbformat.read(HERE / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_what_the_script_writes(name):
    cells = [(cell.cell_type, cell.source) for cell in stored(name).cells]
    assert cells == [(cell.cell_type, cell.source) for cell in notebooks()[name].cells], "run notebooks/make.py"


@pytest.mark.parametrize("name", NAMES)
def test_its_outputs_are_there_and_small(name):
    assert (HERE / f"{name}.ipynb").stat().st_size < 200_000
    text = nbformat.writes(stored(name))
    assert "Id,Category" in text
    assert "Traceback" not in text
    assert "/tmp/" not in text  # noqa: S108 - a name that must not appear


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
@pytest.mark.release  # a search and a final training each: two minutes on two idle cores
@pytest.mark.timeout(3600)
def test_it_runs_on_drawn_cars(name, tmp_path: Path):
    settings = {
        "CARSEARCH_PHOTOS": str(sample(tmp_path)),
        "CARSEARCH_PRESET": "quick",
        "CARSEARCH_HOURS": "0.1",
        "KERAS_HOME": str(tmp_path / "keras"),
    }
    run(notebooks()[name], tmp_path, settings)
    rows = list(csv.DictReader((tmp_path / "submission.csv").open(encoding="utf-8")))
    assert len(rows) == 12
    assert list(rows[0]) == ["Id", "Category"]
