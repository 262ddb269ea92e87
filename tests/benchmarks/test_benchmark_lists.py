import importlib
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from benchmarks import mobilenets
from benchmarks.photos import commented, contest_jpegs, contest_rows, write_contest
from carcls.dataset.loading import load_dataset


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


@pytest.mark.parametrize(
    "name", ["input", "startup", "search_cost", "head_stage", "full_size", "members", "peers.stock"]
)
def test_every_benchmark_tells_its_arguments(name, monkeypatch, capsys):
    benchmark = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 0
    assert f"usage: python -m benchmarks.{name} [-h]" in capsys.readouterr().out


def test_the_list_of_search_cost_is_what_halving_leaves():
    search_cost = importlib.import_module("benchmarks.search_cost")
    entries = search_cost.fixed_list(24)
    assert Counter(entry.stop_after_stage for entry in entries) == {0: 12, 1: 6, 2: 3, 3: 3}
    assert Counter(entry.config.image_size for entry in entries) == {96: 8, 128: 8, 160: 8}
    assert set(Counter((entry.config.backbone, entry.config.alpha) for entry in entries).values()) == {6}
    assert len({(e.config.backbone, e.config.alpha) for e in entries if e.stop_after_stage == 3}) > 1
    assert search_cost.fixed_list(4) == entries[:4]
    assert entries[0].epochs == 3


def test_head_trials_share_groups_and_differ_in_the_head():
    head_stage = importlib.import_module("benchmarks.head_stage")
    entries = head_stage.head_trials(32, (128, 224), 4)
    groups = Counter((e.config.backbone, e.config.alpha, e.config.image_size) for e in entries)
    assert groups == {
        ("MobileNet", 0.75, 128): 8,
        ("MobileNet", 0.75, 224): 8,
        ("MobileNetV2", 1.0, 128): 8,
        ("MobileNetV2", 1.0, 224): 8,
    }
    assert {entry.epochs for entry in entries} == {6}
    assert len({entry.config.stages[0].learning_rate for entry in entries}) == 32


def test_frozen_passes_are_the_stores_half_precision_arrays(tmp_path):
    head_stage = importlib.import_module("benchmarks.head_stage")
    np.save(tmp_path / "pixels.npy", np.zeros((5, 8, 8, 3), np.uint8))
    np.save(tmp_path / "features.npy", np.zeros((5, 16), np.float16))
    np.save(tmp_path / "views.npy", np.zeros((4, 5, 16), np.float16))
    assert head_stage.frozen_passes(tmp_path) == 5
