"""Soups: the mean of several trainings' weights."""

import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.inference.soup import souped
from carcls.models.classifier import Classifier, build_classifier
from carcls.training.checkpoint import model_variables, variable_arrays


def classifier(seed: int, *, alpha: float = 0.25) -> Classifier:
    config = TrainConfig.model_validate(
        {
            "backbone": "MobileNet",
            "alpha": alpha,
            "weights": "none",
            "image_size": 32,
            "batch_size": 2,
            "seed": seed,
            "stages": [{"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.1}],
        }
    )
    return build_classifier(config, size_px=32, class_count=3, weights=None)


def arrays(one: Classifier) -> dict[str, np.ndarray]:
    return variable_arrays(model_variables(one.model))


def test_a_soup_is_the_mean_of_all_weights():
    first, second, third = (classifier(seed) for seed in range(3))
    before = [arrays(one) for one in (first, second, third)]
    soup = souped([first, second, third])
    assert soup is first
    for key, value in arrays(soup).items():
        if key.startswith("seed/"):  # of dropout: a whole number stays the first one's
            assert np.array_equal(value, before[0][key])
        else:
            assert np.allclose(value, np.mean([one[key] for one in before], axis=0), atol=1e-7), key
    changed = [key for key, value in arrays(soup).items() if not np.array_equal(value, before[0][key])]
    assert any("head_logits" in key for key in changed)


def test_a_soup_of_one_model_is_that_model_bit_by_bit():
    one = classifier(0)
    before = arrays(one)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    said = one.model.predict_on_batch(photos)
    souped([one])
    assert all(np.array_equal(value, before[key]) for key, value in arrays(one).items())
    assert np.array_equal(one.model.predict_on_batch(photos), said)


def test_models_of_two_architectures_are_refused():
    with pytest.raises(ValueError, match="a soup needs one architecture"):
        souped([classifier(0), classifier(0, alpha=0.5)])
    with pytest.raises(ValueError, match="none to average"):
        souped([])
