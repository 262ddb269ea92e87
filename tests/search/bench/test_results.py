"""The file that keeps a machine's measurements."""

import json
from pathlib import Path

import pytest

from search.bench.results import bench_file, kept_bench, merged, read_bench, to_json, write_bench
from tests.search.bench.helpers import bench, feeding, training


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    known = bench(training(100.0), training(state="out_of_memory", batch_size=64), feeding(900.0))
    write_bench(tmp_path / "bench" / "one.json", known)
    assert read_bench(tmp_path / "bench" / "one.json") == known


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "torn", "\udcff"])
def test_a_file_that_is_not_understood_counts_as_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert read_bench(tmp_path / "one.json") is None
    assert read_bench(tmp_path / "absent.json") is None


def test_a_row_of_an_unknown_kind_is_not_understood(tmp_path: Path) -> None:
    values = to_json(bench(training(100.0)))
    values["found"][0]["kind"] = "other"
    (tmp_path / "one.json").write_text(json.dumps(values))
    assert read_bench(tmp_path / "one.json") is None


def test_new_measurements_replace_old_ones_unless_time_ran_out() -> None:
    old = [training(100.0), training(120.0, batch_size=64), feeding(900.0)]
    new = [training(110.0), training(state="out_of_time", batch_size=64), training(state="out_of_time", batch_size=128)]
    assert merged(old, new) == (new[0], old[1], old[2], new[2])


def test_another_backend_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSEARCH_BENCH", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    first = bench_file()
    assert first.parent == tmp_path
    assert kept_bench() is None
    write_bench(first, bench(training(100.0)))
    assert kept_bench() == bench(training(100.0))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert bench_file() != first
    assert kept_bench() is None
