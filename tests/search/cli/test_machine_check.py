"""`carsearch check --here`: what `run` would find, and whether it would refuse."""

from pathlib import Path

import pytest

from carcls.dataset.loading import load_dataset
from search.bench.results import bench_file, write_bench
from search.cli.commands.machine_check import check_machine
from search.experiment.experiment import load
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import write_tiny
from tests.search.bench.helpers import bench, feeding, training


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CARSEARCH_BENCH", str(tmp_path / "bench"))
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_run_would_find(place: Path) -> None:
    done = run_cli("check", "tiny.yaml", "--here", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny.yaml: ok"
    assert "  photos: 36 of 3 classes, 6 to predict, 0 that cannot be used" in lines
    assert "  split: 27 to train, 9 to validate" in lines
    assert "  framework: loaded" in lines
    assert lines[-1] == "next: carsearch run tiny.yaml"
    assert not (place / "results").exists(), "it changes nothing"


def test_every_problem_is_reported_at_once(place: Path) -> None:
    """`run` would stop at the first of them."""
    (place / "results").write_text("no folder")
    (place / "torn.h5").write_bytes(b"torn")
    changes = ["train.weights=torn.h5", "search.resources.cpus_per_trial=9999", "store.root=~/x"]
    done = run_cli("check", "tiny.yaml", "--here", *(f"--set={change}" for change in changes), cwd=place)
    assert done.returncode == 2
    assert f"results: {place / 'results'} is not a writable folder" in done.stderr
    assert "no node has room for one trial of" in done.stderr
    assert "torn.h5 cannot be read as weights" in done.stderr
    assert "  split: 27 to train, 9 to validate" in done.stdout.splitlines(), "what is right is told too"


def test_what_the_file_names_and_is_not_here(place: Path) -> None:
    found = check_machine(load(place / "tiny.yaml", ["data.root=nowhere", "train.weights=absent.h5"]))
    assert [refusal.split(": ", 1)[1] for refusal in found.refusals] == [
        f"data.root: no such folder: {place / 'nowhere'}",
        f"train.weights: no such file: {place / 'absent.h5'}",
    ]


def test_classes_that_no_photo_validates_are_named(place: Path) -> None:
    labels = place / "data" / "train.csv"
    rows = labels.read_text().splitlines()
    kept = [row for row in rows if not row.endswith(",2")] + [next(row for row in rows if row.endswith(",2"))]
    labels.write_text("\n".join(kept) + "\n")
    assert len(load_dataset(place / "data", processes=1).train) == 25
    found = check_machine(load(place / "tiny.yaml", ["search.budget.hours=1.5"]))
    assert found.refusals == []
    assert "too small to validate: 2" in found.lines
    assert found.lines[-1].startswith("time: about 1.5 h at most (search.budget.hours)")


def test_photos_that_cannot_be_trained_on(place: Path) -> None:
    labels = place / "data" / "train.csv"
    labels.write_text(
        "\n".join(row for row in labels.read_text().splitlines() if not row.endswith((",1", ",2"))) + "\n"
    )
    found = check_machine(load(place / "tiny.yaml"))
    assert len(found.refusals) == 1
    assert "every usable photo is of the class '0'" in found.refusals[0]


def test_a_study_that_run_would_not_replace(finished: Ran) -> None:
    done = run_cli("check", finished.file.name, "--here", cwd=finished.cwd)
    assert done.returncode == 2
    assert f"{finished.folder.root} exists already" in done.stderr


def test_what_bench_measured_here_gives_time_and_cost(place: Path) -> None:
    small = training(1.0, backbone="MobileNet", alpha=0.25, image_size=32, batch_size=8, threads=1)
    write_bench(bench_file(), bench(small, feeding(1000.0, processes=1)))
    found = check_machine(load(place / "tiny.yaml"), price_per_hour=36.0)
    time, cost = found.lines[-2:]
    assert time == (
        "time: about 2 min to 3 min by what 'carsearch bench' measured here"
        " (search 1 min to 2 min, final training 55 s to 1 min)"
    )
    assert cost == "cost: about 1.39 to 2.00 at 36 an hour"


def test_a_backbone_of_which_nothing_is_known(place: Path) -> None:
    write_bench(bench_file(), bench(training(1.0), feeding(1000.0)))
    found = check_machine(load(place / "tiny.yaml", ["train.backbone=VGG16", "train.alpha=1.0"]))
    assert found.lines[-1] == "time: nothing is known of VGG16 1: measure it with 'carsearch bench --backbones VGG16:1'"


def test_a_price_without_a_machine_is_refused(place: Path) -> None:
    done = run_cli("check", "tiny.yaml", "--price-per-hour", "2", cwd=place)
    assert done.returncode == 2
    assert "add --here" in done.stderr
