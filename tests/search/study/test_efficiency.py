"""What the final training cost: from its epochs to figures, and how they read."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.events import PhaseSeconds
from carcls.inference.view_choice import plain_only
from carcls.scoring.gains import Normal, ViewEvidence
from search.study.efficiency import Efficiency, StageCost, efficiency_lines, stage_costs
from search.study.final_scores import Scores, read_scores, score_lines
from search.study.folder import StudyFolder
from search.worker.machine_memory import peak_memory_bytes
from tests.helpers.search.trial_builders import climb

ROOT = Path(__file__).parents[3]
COST = Efficiency(
    parameters=20_881_970,
    model_bytes=83_900_000,
    peak_memory_bytes=2_140_000_000,
    batch_size=16,
    plain_s_per_photo=0.0124,
    views_s_per_photo=0.0256,
    stages=(
        StageCost("head", 224, 5, 20_490, 61.0, 118.6),
        StageCost("a-long-name", 448, 10, 20_847_474, 7384.0, 9.4),
    ),
)
SCORES = Scores(
    best_epoch=15,
    best_stage="large",
    image_size=448,
    validation_photos=100,
    plain_accuracy=0.95,
    plain_log_loss=0.17,
    plain_correct=95,
    tta_accuracy=0.96,
    tta_log_loss=0.15,
    tta_interval=(0.004, 0.031),
    tta_views=("plain", "flip"),
    seconds=7445.0,
    device="CPU",
    trial=None,
    efficiency=COST,
)


def test_each_stage_is_one_row() -> None:
    first, *others = climb([0.5, 0.6, 0.7], [0.6], [0.8])
    slow = replace(
        first,
        images_per_s=1.0,
        seconds=PhaseSeconds(train=20.0, validate=5.0, build=2.5, trace=6.0, store=3.0, data_wait=1.0),
    )
    rows = stage_costs([slow, *others])
    assert [(row.name, row.image_size_px, row.epochs, row.trainable_parameters) for row in rows] == [
        ("head", 96, 3, 1000),
        ("half", 128, 1, 2000),
        ("full", 160, 1, 3000),
    ]
    assert rows[0].seconds == 37.5 + 2 * 3.75
    assert rows[0].images_per_s == 42.0, "the median of 1, 42 and 43"
    assert stage_costs(()) == ()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_no_epoch_and_no_second_is_lost(lengths: list[int]) -> None:
    reports = climb(*([0.5] * length for length in lengths))
    rows = stage_costs(reports)
    assert [row.epochs for row in rows] == lengths
    assert sum(row.seconds for row in rows) == pytest.approx(3.75 * len(reports))


def test_the_table_is_aligned() -> None:
    assert efficiency_lines(COST, 2) == (
        "model: 20,881,970 parameters, file 83.9 MB, peak main memory 2.1 GB",
        "  stage         px  epochs  trained parameters        time  images/s",
        "  head         224       5              20,490       1 min       119",
        "  a-long-name  448      10          20,847,474  2 h 03 min       9.4",
        "prediction: 12.4 ms a photo plain, 25.6 ms with 2 views; decoded photos, batches of 16",
    )


def test_unknown_figures_and_unused_views_are_left_out() -> None:
    lines = efficiency_lines(replace(COST, peak_memory_bytes=None), 1)
    assert lines[0] == "model: 20,881,970 parameters, file 83.9 MB"
    assert lines[-1] == "prediction: 12.4 ms a photo plain; decoded photos, batches of 16"


def test_a_hostile_stage_name_stays_on_its_line() -> None:
    cost = replace(COST, stages=(replace(COST.stages[0], name="a\x1b[2J\nb"),))
    assert efficiency_lines(cost, 1)[2].startswith("  a [2J b  224")


def test_peak_memory_of_this_process() -> None:
    code = (
        "from search.worker.machine_memory import peak_memory_bytes as peak\n"
        "before = peak()\n"
        "block = bytearray(300_000_000)\n"
        "block[::4096] = b'x' * len(block[::4096])\n"
        "del block\n"
        "print(before, peak())\n"
    )
    # This process holds TensorFlow, 0.7 GB: a child's getrusage would tell that.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 400_000_000
    assert 300_000_000 <= after < before + 400_000_000


def test_a_system_without_peak_memory_is_no_error(tmp_path) -> None:
    assert peak_memory_bytes(tmp_path / "absent") is None
    (tmp_path / "status").write_text("Name:\tx\nVmRSS:\t  12 kB\n")
    assert peak_memory_bytes(tmp_path / "status") is None
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  12 kB\n")
    assert peak_memory_bytes(tmp_path / "status") == 12 * 1024


def written(root: Path, values: dict[str, object]) -> StudyFolder:
    folder = StudyFolder(root)
    folder.retrain.mkdir()
    folder.scores.write_text(json.dumps(values, allow_nan=False), encoding="utf-8")
    return folder


def test_scores_round_trip(tmp_path) -> None:
    assert read_scores(written(tmp_path, asdict(SCORES))) == SCORES


def test_scores_of_an_older_carsearch_are_read_without_the_summary(tmp_path) -> None:
    older = {key: value for key, value in asdict(SCORES).items() if key not in {"efficiency", "tta_note"}}
    found = read_scores(written(tmp_path, older))
    assert found == replace(SCORES, efficiency=None)
    assert len(score_lines(found)) == 4


def test_the_terminal_shows_scores_then_costs() -> None:
    lines = score_lines(SCORES)
    assert lines[3] == "views in use: plain, flip"
    assert lines[4:] == efficiency_lines(COST, 2)
    assert score_lines(replace(SCORES, tta_views=("plain",)))[3] == "views in use: no TTA: it does not help here"


def test_the_evidence_for_views_is_shown_and_read_back(tmp_path) -> None:
    evidence = ViewEvidence.of(("plain", "flip"), Normal(0.01, 0.02), Normal(0.03, 0.02), models=8, data_sets=2)
    told = replace(SCORES, tta_evidence=evidence)
    assert read_scores(written(tmp_path, asdict(told))) == told
    assert score_lines(told)[4] == (
        "plain, flip: save +0.0300 ± 0.0200 nats a photo here, +0.0100 ± 0.0200 by 8 recorded models of 2 data sets,"
        " +0.0200 ± 0.0141 by both"
    )


def test_one_photo_is_scored_without_tta() -> None:
    choice = plain_only(np.array([[0.25, 0.75]], np.float32), np.array([1]))
    assert choice.views == ("plain",)
    assert not choice.helps
    assert (choice.plain_accuracy, choice.tta_accuracy) == (1.0, 1.0)
    assert choice.plain_log_loss == choice.tta_log_loss == pytest.approx(-np.log(0.75))
    assert choice.interval == (0.0, 0.0)
    alone = replace(SCORES, tta_views=choice.views, tta_note="no TTA: 1 validation photo cannot choose views")
    assert score_lines(alone)[3] == "views in use: no TTA: 1 validation photo cannot choose views"
