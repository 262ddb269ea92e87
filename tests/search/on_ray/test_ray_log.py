"""Ray's lines are kept, and not shown."""

import logging
from pathlib import Path

import pytest

from search.on_ray.ray_log import rays_lines_in


def test_lines_of_ray_go_to_the_file_and_afterwards_where_they_went_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, ray = tmp_path / "ray.log", logging.getLogger("ray.tune.tune")
    handlers = list(logging.getLogger("ray").handlers)
    with rays_lines_in(file):
        assert not file.exists(), "without a line there is no file"
        ray.error("Trials did not complete: [run_segment_1]")
    assert file.read_text(encoding="utf-8").endswith("ERROR ray.tune.tune: Trials did not complete: [run_segment_1]\n")
    assert caplog.text == ""
    assert logging.getLogger("ray").handlers == handlers
