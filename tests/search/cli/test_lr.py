"""`carsearch lr` on a real tiny experiment."""

import json

import pytest

from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import write_tiny


def test_rates_that_do_not_rise_are_refused(tmp_path) -> None:
    (tmp_path / "tiny.yaml").write_text("name: tiny", encoding="utf-8")
    ran = run_cli("lr", "tiny.yaml", "--from", "1e-2", "--to", "1e-3", cwd=tmp_path)
    assert ran.returncode == 2
    assert "--from 0.01 must be below --to 0.001" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.slow
def test_the_baseline_is_tested_and_only_the_page_and_its_numbers_are_written(tmp_path) -> None:
    write_tiny(tmp_path)
    ran = run_cli("lr", "tiny.yaml", "--steps", "24", "--to", "100", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "tiny.lr.html", "tiny.lr.json", "tiny.yaml"]
    told = json.loads((tmp_path / "tiny.lr.json").read_text(encoding="utf-8"))
    assert [stage["stage"] for stage in told["stages"]] == ["head", "top"]
    assert told["stages"][0]["configured"] == pytest.approx(3.16e-3, rel=1e-2), "the baseline's"
    for stage in told["stages"]:
        assert stage["rates"] == sorted(stage["rates"])
        assert 2 <= len(stage["losses"]) <= 24
        if stage["suggestion"] is not None:
            assert stage["rates"][0] <= stage["suggestion"] < stage["rates"][-1]
    assert any(line.startswith("stage  steps  lowest loss") for line in ran.stdout.splitlines())
    assert "page: tiny.lr.html" in ran.stdout
