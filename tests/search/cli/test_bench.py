"""`carsearch bench` in its small form: processes of its own, a result for everything, a file for later estimates."""

import json
from pathlib import Path

import pytest

from carcls.config import Precision
from carcls.errors import ConfigError
from search.bench.results import Bench, Feeding, Training, bench_file, from_json, read_bench
from search.cli.commands.bench import chosen
from tests.helpers.search.processes import run_cli

SMALL = ["--backbones", "MobileNet:0.25", "--sizes", "32", "--batches", "8", "--steps", "2", "--json"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEARCH_BENCH", str(tmp_path / "cache"))


def _bench(tmp_path: Path, *options: str) -> Bench:
    done = run_cli("bench", *SMALL, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return from_json(json.loads(done.stdout))


def test_a_small_bench_measures_and_keeps_what_it_measured(tmp_path: Path) -> None:
    found = _bench(tmp_path, "--at-once", "1")
    assert found == read_bench(bench_file())
    assert [type(one.what) for one in found.found] == [Training, Feeding]
    trained, fed = found.found
    assert (trained.state, fed.state) == ("measured", "measured"), found.found
    assert 0 < trained.images_per_s < trained.forward_images_per_s
    assert 0 < trained.compile_s < trained.seconds
    assert trained.memory_bytes > 100e6
    assert fed.images_per_s > fed.decoded_per_s > 0


def test_options_are_wishes() -> None:
    found = chosen(
        backbones="MobileNetV2:0.35, Xception",
        sizes="128,96",
        precisions="float32,auto",
        batches="64,16",
        at_once="2,8",
        policy="strong",
        cores=4,
        gpus=0,
    )
    precisions: tuple[Precision, ...] = ("auto", "float32")
    assert (found.models, found.sizes) == ((("MobileNetV2", 0.35), ("Xception", 1.0)), (128, 96))
    assert (found.precisions, found.batches, found.policy) == (precisions, (16, 64), "strong")
    assert (found.at_once, found.processes, found.threads) == ((1, 2), (4,), 4), "eight trainings need eight cores"


def test_cores_of_a_gpu_are_counted_up() -> None:
    found = chosen(
        backbones="Xception",
        sizes="128",
        precisions="auto",
        batches="64",
        at_once="1,2,4",
        policy="medium",
        cores=24,
        gpus=2,
    )
    assert (found.at_once, found.processes, found.threads) == ((1, 2, 4), (1, 2, 4, 8, 12), 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbones", "Xcepton"], "--backbones: unknown backbone 'Xcepton'; did you mean 'Xception'?"),
        (["--backbones", "Xception:0.5"], "--backbones: Xception has no width 0.5"),
        (
            ["--backbones", "MobileNet:wide"],
            "--backbones: expected a width such as MobileNet:0.35, found 'MobileNet:wide'",
        ),
        (["--sizes", "12.5"], "--sizes: expected whole numbers above 0 separated by commas, found '12.5'"),
        (["--policy", "odd"], "--policy: expected one of none, light, medium, strong, trivial, found 'odd'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], message: str) -> None:
    values = {"backbones": "Xception", "sizes": "128", "precisions": "auto", "batches": "8", "policy": "medium"}
    values |= {options[0].removeprefix("--"): options[1]}
    with pytest.raises(ConfigError) as error:
        chosen(**values, at_once="1", cores=2, gpus=0)
    assert str(error.value) == message
