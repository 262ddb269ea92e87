"""The range test of a real tiny training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.store import Store
from carcls.training.rate_test import find_rates
from carcls.training.steps.rate_range import rising_rates


@pytest.fixture
def config(weights):
    return TrainConfig.model_validate(
        {
            "backbone": "MobileNet",
            "alpha": 0.25,
            "weights": str(weights),
            "image_size": 32,
            "batch_size": 4,
            "augment": {"policy": "none"},
            "stages": [
                {"name": "head", "unfreeze": 0.0, "epochs": 10, "learning_rate": 1e-2},
                {"name": "top", "unfreeze": 0.2, "epochs": 1, "learning_rate": 1e-3},
            ],
        }
    )


def test_each_stage_has_a_suggestion_between_the_first_rate_and_divergence(config, data, tmp_path):
    data = replace(data, store=Store(tmp_path / "store", enabled=False))
    rates = rising_rates(1e-5, 100.0, 36).tolist()
    told = []
    found = find_rates(config, data, rates, told.append)
    assert [one.stage for one in found] == ["head", "top"]
    assert tuple(told) == found
    assert [one.configured for one in found] == [1e-2, 1e-3]
    for one in found:
        assert one.rates == tuple(rates[: len(one.losses)])
        assert one.diverged, "no training survives a rate of 100"
        assert one.suggestion is None or rates[0] < one.suggestion < one.rates[-1]
    head, top = found
    assert head.suggestion is not None, "a fresh head learns; after it there may be nothing left to learn"
    # The top starts from a trained head, so its loss begins lower. The first rates are too low to change it.
    assert np.mean(top.losses[:9]) < 0.9 * np.mean(head.losses[:9])
    assert not list(Path(tmp_path).iterdir()), "nothing is left behind"


def test_each_stage_is_tested_and_told_at_its_own_size_and_batch(config, data):
    head, top = config.stages
    top = top.model_copy(update={"image_scale": 2.0, "batch_size": 2})
    found = find_rates(config.model_copy(update={"stages": (head, top)}), data, [1e-5, 1e-4])
    assert [one.batches for one in found] == ["batches of 4 at 32 px", "batches of 2 at 64 px"]


def test_a_single_rate_is_refused(config, data):
    with pytest.raises(ValueError, match="two rates or more"):
        find_rates(config, data, [1e-3])
