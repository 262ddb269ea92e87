import numpy as np

from carcls.scoring.bootstrap import mean_interval, unit_parts


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        low, high = mean_interval(rng.normal(0.3, 1.0, 60), 0.8, rng, np.arange(60))
        covered += low < 0.3 < high
    assert 70 <= covered <= 90


def test_copies_of_one_photo_widen_the_interval():
    differences = np.random.default_rng(1).normal(0.0, 1.0, 30)
    alone = mean_interval(differences, 0.9, np.random.default_rng(0), np.arange(30))
    thrice = mean_interval(np.repeat(differences, 3), 0.9, np.random.default_rng(0), np.repeat(np.arange(30), 3))
    as_own = mean_interval(np.repeat(differences, 3), 0.9, np.random.default_rng(0), np.arange(90))
    assert np.allclose(thrice, alone), "a copy says nothing new"
    assert as_own[1] - as_own[0] < 0.7 * (alone[1] - alone[0])


def test_a_unit_lies_in_one_part_and_every_row_in_some():
    units = np.array([3, 1, 3, 2, 1, 9, 9, 4])
    parts = unit_parts(units, 3, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(8))
    assert sum(len(set(units[part])) for part in parts) == 5
    assert len(unit_parts(units, 20, np.random.default_rng(0))) == 5, "no more parts than units"
