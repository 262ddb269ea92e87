import subprocess
import sys

import cv2
import numpy as np
import pytest

from benchmarks import mobilenets
from benchmarks.photos import commented, contest_jpegs, contest_rows, write_contest
from carcls.data.table import load_dataset


def test_a_comment_changes_the_file_and_not_the_picture(tmp_path):
    (jpeg,) = contest_jpegs(tmp_path, 1)
    other = commented(jpeg, 7)
    assert other != jpeg
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (jpeg, other)]
    assert pictures[0].shape == (480, 640, 3)
    assert np.array_equal(*pictures)


def test_generated_photos_load_as_different_photos_of_the_contest(tmp_path):
    rows = contest_rows(tmp_path / "absent.csv")
    assert len(rows) == 15_561
    write_contest(tmp_path / "contest", rows[:30], contest_jpegs(tmp_path, 3))
    dataset = load_dataset(tmp_path / "contest", processes=1)
    assert dataset.quarantined == ()
    assert len(dataset.train) == len(set(dataset.train.digests)) == 30
    assert dataset.class_names == tuple(str(number) for number in range(10))


@pytest.mark.parametrize("net", mobilenets.MOBILENETS, ids=lambda net: net.name)
def test_configurations_have_as_many_stages_as_epochs(net):
    config = net.config(image_size=96, epochs=(3, 2))
    assert [(stage.unfreeze, stage.epochs) for stage in config.stages] == [(0.0, 3), (0.5, 2)]
    assert (config.backbone, config.alpha) == (net.backbone, net.alpha)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["input", "startup", "search_cost", "head_stage", "full_size", "peers.stock"])
def test_every_benchmark_tells_its_arguments(name):
    told = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--help"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "python -m benchmarks." in told.stdout
