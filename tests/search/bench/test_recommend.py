"""What `bench` recommends."""

import pytest

from search.bench.recommend import Batch, Share, Workers, advise
from tests.search.bench.helpers import bench, feeding, training


def test_the_smallest_batch_that_is_about_as_fast() -> None:
    found = advise(bench(training(100, batch_size=16), training(118, batch_size=32), training(124, batch_size=64)))
    assert found.batches == (Batch("MobileNetV2 224 px, auto", 32, 118),)
    assert found.lines() == ("MobileNetV2 224 px, auto: batch 32 (118 images/s)",)


def test_a_batch_that_does_not_fit_is_not_recommended() -> None:
    found = advise(bench(training(state="out_of_memory"), training(state="out_of_memory", batch_size=16)))
    assert found.batches == (Batch("MobileNetV2 224 px, auto", None, 0.0),)
    assert found.lines() == ("MobileNetV2 224 px, auto: no batch measured fits in memory",)


def test_the_fewest_trials_at_once_that_use_the_cores() -> None:
    several = [training(100, threads=4), training(70, at_once=2, threads=2), training(36, at_once=4, threads=1)]
    found = advise(bench(*several, cores=4))
    assert found.share == Share(2, pytest.approx(1.4))
    assert (found.gpus_per_trial, found.cpus_per_trial) == (None, 2)
    assert found.lines()[:2] == (
        "recommended: search.resources={cpus_per_trial: 2}",
        "2 trials at once on 4 cores: 1.40 times as fast as one alone",
    )


def test_trials_that_do_not_fit_beside_each_other_train_alone() -> None:
    found = advise(bench(training(100), training(state="out_of_memory", at_once=2), feeding(500), gpus=1))
    assert (found.share, found.gpus_per_trial) == (None, None)


def test_processes_that_keep_up_with_the_gpu() -> None:
    trainings = [training(1000, threads=8), training(700, at_once=2, threads=4)]
    feedings = [feeding(400, processes=1), feeding(780, processes=2), feeding(1500, processes=4)]
    found = advise(bench(*trainings, *feedings, gpus=1, cores=8))
    assert found.gpus_per_trial == 0.5
    assert found.workers == Workers(2, 780, 700), "each of two trials takes 700 photos a second"
    assert found.cpus_per_trial == 2
    assert "recommended: search.resources={gpus_per_trial: 0.5, cpus_per_trial: 2}" in found.lines()


def test_photos_that_limit_the_gpu_are_told() -> None:
    found = advise(bench(training(5000, threads=8), feeding(900, processes=1), feeding(1500, processes=4), gpus=1))
    assert found.workers == Workers(4, 1500, 5000)
    assert "4 processes prepare 1,500 photos/s, LESS than the fastest training measured (5,000/s)" in found.lines()
