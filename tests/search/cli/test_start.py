"""`init`, `run DATA`, `doctor` and `predict` in other formats, as a new user calls them."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from search.cli import from_photos
from search.cli.commands.doctor import findings, gpu_finding, packages_finding, python_finding
from search.cli.output import Output
from search.experiment.experiment import load
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran


def test_init_writes_a_file_that_check_accepts(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    write_sample(tmp_path / "my cars", classes=2, train_per_class=4, test_per_class=1)
    done = run_cli("init", "my cars", "--preset", "quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "photos: 8 of 2 classes" in done.stdout
    assert re.search(r"^time: about .* \(an estimate\)$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith(
        "wrote my-cars.yaml; next: carsearch check --here my-cars.yaml, then carsearch run my-cars.yaml\n"
    )
    assert load(tmp_path / "my-cars.yaml").data.root.name == "my cars"
    again = run_cli("init", "my cars", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("carsearch: my-cars.yaml exists already")


def test_templates_are_listed_and_copied(tmp_path):
    listed = run_cli("init", "--list", cwd=tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines()][:2] == ["demo", "cars"]
    assert run_cli("init", "--template", "demo", "--output", "d.yaml", cwd=tmp_path).returncode == 0
    assert load(tmp_path / "d.yaml").name == "demo"
    wrong = run_cli("init", "--template", "demos", cwd=tmp_path)
    assert (wrong.returncode, "expected one of demo, cars" in wrong.stderr) == (2, True)


def test_version_and_completion(tmp_path):
    assert re.fullmatch(r"carsearch \d+\.\d+\.\d+\n", run_cli("--version", cwd=tmp_path).stdout)
    assert "--install-completion" in run_cli("--help", cwd=tmp_path).stdout


def test_a_file_for_other_photos_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("a", "b"):
        write_sample(tmp_path / name / "cars", classes=2, train_per_class=4, test_per_class=1)
    assert run_cli("init", "a/cars", cwd=tmp_path).returncode == 0
    done = run_cli("run", "b/cars", cwd=tmp_path)
    assert done.returncode == 2
    assert "cars.yaml is for the photos in" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("preset", "budget_hours", "folds"), [(None, None, 4), ("medium", 1.0, 1)])
def test_a_run_of_photos_by_hours_searches_as_long_as_they_allow(tmp_path, monkeypatch, preset, budget_hours, folds):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "cars", classes=2, train_per_class=4, test_per_class=1)
    asked = []
    monkeypatch.setattr(from_photos, "run_within", lambda experiment, hours, **_: asked.append((experiment, hours)))
    how = {"weights": None, "overrides": [], "address": None, "replace": False, "output": Output.PEOPLE}
    from_photos.run_photos(Path("cars"), preset=preset, hours=12.0, **how)
    ((experiment, hours),) = asked
    assert (hours, experiment.search.budget.hours, experiment.folds) == (12.0, budget_hours, folds)


@pytest.mark.release
@pytest.mark.slow  # a search and a final training: under a minute on two idle cores
def test_photos_become_a_submission_in_one_command(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    write_sample(tmp_path / "cars", classes=3, train_per_class=12, test_per_class=2)
    few = ["--set", "search.trials=2", "--set", "retrain.stages.full.epochs=1"]
    done = run_cli("run", "cars", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader((tmp_path / "results" / "cars" / "submission.csv").open(encoding="utf-8")))
    assert len(rows) == 6
    assert {row["Category"] for row in rows} <= {"0", "1", "2"}
    assert (tmp_path / "results" / "cars" / "report.html").exists()
    again = run_cli("run", "cars", *few, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "using cars.yaml" in again.stdout
    assert "is already finished" in again.stdout


def test_doctor_finds_this_machine_well(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = {finding.about: finding for finding in findings(tmp_path / "results")}
    assert {"Python", "packages", "TensorFlow", "GPUs", "results", "ports", "home", "store", "weights"} == set(found)
    assert [finding.line for finding in found.values() if finding.state == "problem"] == []


def test_doctor_says_what_to_do():
    assert python_finding((3, 13), sys.executable).state == "problem"
    assert "ray missing" in packages_finding(lambda name: None if name == "ray" else "1").text
    assert "sees 0" in gpu_finding(0, 2).text
    assert gpu_finding(2, 2).state == "ok"
    assert gpu_finding(1, 0).state == "problem"


def test_predict_in_other_formats(retrained: Ran):
    folder, model = retrained.cwd / "data" / "test_upload", str(retrained.folder.model)
    plain = run_cli("predict", model, str(folder), "--top", "2", cwd=retrained.cwd).stdout.splitlines()
    table = run_cli("predict", model, str(folder), "--csv", "--top", "2", cwd=retrained.cwd).stdout.splitlines()
    done = run_cli("predict", model, str(folder), "--json", "--top", "9", "--probabilities", "p.csv", cwd=retrained.cwd)
    assert table[0] == "file,class_1,probability_1,class_2,probability_2"
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    blend = list(csv.DictReader((retrained.cwd / "p.csv").open(encoding="utf-8")))
    assert len(plain) == len(table) - 1 == len(objects) == len(blend) == 6
    for line, row, one, shares in zip(plain, csv.DictReader(table), objects, blend, strict=True):
        file, first, share, second, less = line.split("\t")
        assert (
            (row["file"], row["class_1"], row["class_2"])
            == (file, first, second)
            == (
                one["file"],
                one["top"][0]["class"],
                one["top"][1]["class"],
            )
        )
        assert float(share) >= float(less)
        assert shares["file"] == file
        assert sum(float(shares[name]) for name in "012") == pytest.approx(1, abs=1e-5)
        assert float(shares[first]) == pytest.approx(float(share), abs=1e-4)
        assert len(one["top"]) == 3, "as many as there are classes"
