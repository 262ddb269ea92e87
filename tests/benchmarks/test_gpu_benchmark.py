"""The benchmark of one GPU in its small form, on a CPU: what it prints, and that a failing step does not end it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]


def measured(steps: str, **environment: str) -> tuple[int, list[dict]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--small", "--steps", steps],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend(), "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_versions_come_first_and_a_step_that_fails_does_not_end_the_run():
    status, lines = measured("versions", KERAS_BACKEND="no-such-backend")
    assert status == 1
    assert lines[0]["step"] == "versions"
    assert "no-such-backend" in lines[0]["error"] or "KERAS_BACKEND" in lines[0]["error"]
    assert lines[-1].keys() == {"step", "took_s"}


@pytest.mark.release
@pytest.mark.slow
def test_every_step_measures_something():
    status, lines = measured("versions,rates,batches,shapes,cache,clock,pipeline,share,out_of_memory,overflow")
    assert [line for line in lines if "error" in line] == []
    assert status == 0
    by_step: dict[str, list[dict]] = {}
    for line in lines:
        if "took_s" not in line:
            by_step.setdefault(line["step"], []).append(line)
    assert list(by_step) == [
        *("versions", "rates", "batches", "shapes", "cache", "clock"),
        *("pipeline", "share", "out_of_memory", "overflow"),
    ]
    assert by_step["rates"][0]["images_per_s"] > 0
    assert by_step["rates"][0]["compile_s"] > 0
    assert [line["waits_for_steps"] for line in by_step["clock"]] == [True, False] * 3
    assert {line["data"] for line in by_step["pipeline"]} == {"resident", "prepared alone", "fed"}
    assert len(by_step["cache"]) == len(by_step["share"]) == 2
    (scales,) = by_step["overflow"]
    assert scales["weights_unchanged"]
    assert scales["later_losses_finite"]
    assert scales["scale_before_and_after"][1] == scales["scale_before_and_after"][0] / 2
