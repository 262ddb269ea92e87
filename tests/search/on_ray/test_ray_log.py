"""Ray's lines are kept, and not shown."""

import inspect
import logging
from pathlib import Path

import pytest
from ray._private import worker

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


def test_the_line_of_a_lost_node_goes_there_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, line = tmp_path / "ray.log", "The node with node id: 12ab has been marked dead"
    with rays_lines_in(file):
        # As `listen_error_messages` calls it, in a thread that Ray starts with the driver.
        worker.print_to_stdstream({"lines": [line], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert file.read_text(encoding="utf-8").endswith(f"ERROR ray.raylet: {line}\n")
    assert capsys.readouterr() == ("", "")
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)
