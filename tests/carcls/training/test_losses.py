"""Class weights: values, the loss by hand, its gradient in a compiled model, and one epoch on imbalanced classes."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from carcls.config import TrainConfig
from carcls.models.classifier import build_classifier
from carcls.training.fine_tuning import fine_tune
from carcls.training.steps.losses import WeightedCrossentropy, class_weights, training_loss

STAGE = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-9}
COUNTS = np.array([1, 5, 6])


def config(**changes) -> TrainConfig:
    base = {"backbone": "MobileNet", "alpha": 0.25, "weights": "none", "image_size": 32, "batch_size": 8}
    return TrainConfig.model_validate(base | {"stages": (STAGE,)} | changes)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(any))
def test_classes_weigh_the_same_and_photos_one_on_average(counts):
    counts = np.array(counts)
    weights = class_weights(counts)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    shares = (weights * counts)[counts > 0]
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)
    assert shares.sum() / counts.sum() == pytest.approx(1.0, rel=1e-5)
    assert (weights[counts == 0] == 1.0).all()


def test_weights_are_those_that_scikit_learn_calls_balanced():
    labels = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=labels)
    np.testing.assert_allclose(class_weights(COUNTS), expected, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(np.array([7, 7])), [1.0, 1.0])


def _random_labels(rng: np.random.Generator, *, mixed: bool) -> np.ndarray:
    one, other = np.eye(3)[rng.integers(0, 3, 5)], np.eye(3)[rng.integers(0, 3, 5)]
    share = rng.uniform(size=(5, 1)) if mixed else 1.0
    return share * one + (1 - share) * other


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_by_hand(smoothing, mixed):
    rng = np.random.default_rng(0)
    weights, labels = class_weights(COUNTS), _random_labels(rng, mixed=mixed)
    probabilities = rng.dirichlet(np.ones(3), size=5)
    by_hand = 0.0
    for label, row in zip(labels, probabilities, strict=True):
        for true in range(3):  # a mixed photo has a share of each class
            smoothed = (1 - smoothing) * np.eye(3)[true] + smoothing / 3
            by_hand += label[true] * weights[true] * -(smoothed * np.log(row)).sum() / 5
    loss = training_loss(config(class_balance="weights", label_smoothing=smoothing), COUNTS)
    assert float(loss(labels, probabilities)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_classes_give_the_plain_loss(smoothing):
    rng = np.random.default_rng(1)
    labels, probabilities = _random_labels(rng, mixed=True), rng.dirichlet(np.ones(3), size=5)
    weighted = training_loss(config(class_balance="weights", label_smoothing=smoothing), np.array([4, 4, 4]))
    plain = training_loss(config(label_smoothing=smoothing), COUNTS)
    assert isinstance(plain, keras.losses.CategoricalCrossentropy)
    assert float(weighted(labels, probabilities)) == pytest.approx(float(plain(labels, probabilities)), rel=1e-6)


def test_a_compiled_model_steps_along_the_weighted_gradient():
    """TensorFlow replaces a traced softmax's probabilities by its logits, and assumes that labels sum to 1."""
    rng = np.random.default_rng(2)
    x, labels, weights = (
        rng.normal(size=(5, 4)).astype(np.float32),
        _random_labels(rng, mixed=True),
        class_weights(COUNTS),
    )
    inputs = keras.Input((4,))
    logits = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, keras.layers.Softmax()(logits(inputs)))
    model.compile(keras.optimizers.SGD(1.0), WeightedCrossentropy(weights, label_smoothing=0.1))
    before, probabilities = logits.get_weights()[0], np.asarray(model(x))
    model.train_on_batch(x, labels)

    gradient = np.zeros((4, 3))
    for row, label, probability in zip(x, labels, probabilities, strict=True):
        for true in range(3):
            smoothed = 0.9 * np.eye(3)[true] + 0.1 / 3
            gradient += label[true] * weights[true] * np.outer(row, probability - smoothed) / 5
    np.testing.assert_allclose(before - logits.get_weights()[0], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("balance", "each"), [("weights", class_weights(COUNTS)), ("none", np.ones(3))])
def test_a_skewed_training_reports_the_mean_of_its_weighted_losses(data, weights, tmp_path, balance, each):
    """With a negligible learning rate, the epoch's loss is that of the initial weights."""
    labels = data.split.train.labels
    rows = np.concatenate([np.flatnonzero(labels == name)[:count] for name, count in enumerate(COUNTS)])
    skewed = replace(data, split=replace(data.split, train=data.split.train.select(rows)))
    recipe = config(
        class_balance=balance,
        label_smoothing=0.1,
        weights=str(weights),
        augment={"policy": "none"},
        head={"batch_norm": False, "dropout": 0.0},
    )
    reports = []
    fine_tune(recipe, skewed, reports.append, folder=tmp_path)

    model = build_classifier(recipe, size_px=32, class_count=3, weights=weights).model
    probabilities = np.asarray(model(skewed.pixels("train", 32).astype(np.float32)))
    smoothed = 0.9 * np.eye(3)[labels[rows]] + 0.1 / 3
    losses = -(smoothed * np.log(probabilities)).sum(axis=1)
    assert reports[0].train_loss == pytest.approx((each[labels[rows]] * losses).mean(), rel=1e-4)
    assert len({round(float(loss), 3) for loss in losses}) > 3, "equal losses would hide the weights"


@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_by_hand(balance, smoothing):
    rng = np.random.default_rng(3)
    labels, probabilities = np.eye(3)[rng.integers(0, 3, 5)], rng.dirichlet(np.ones(3), size=5)
    weights = class_weights(COUNTS) if balance == "weights" else np.ones(3)
    smoothed = (1 - smoothing) * labels + smoothing / 3
    each = (smoothed * (1 - probabilities) ** 1.5 * -np.log(probabilities)).sum(axis=1)
    by_hand = (each * (labels @ weights)).mean()
    changed = {"loss": "focal", "focal_gamma": 1.5, "class_balance": balance, "label_smoothing": smoothing}
    loss = training_loss(config(**changed), COUNTS)
    assert float(loss(labels, probabilities)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("logit", [-3.0, -30.0, -50.0])
def test_a_compiled_model_steps_along_the_focal_gradient_however_wrong_it_is(logit):
    """A logit of -30 is a probability of 5e-14, below Keras's epsilon of 1e-7."""
    inputs = keras.Input((1,))
    logits = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, keras.layers.Softmax()(logits(inputs)))
    logits.set_weights([np.array([[logit, 0.0, 0.0]], np.float32)])
    model.compile(keras.optimizers.SGD(1.0), training_loss(config(loss="focal", focal_gamma=2.0), COUNTS))
    model.train_on_batch(np.ones((1, 1), np.float32), np.eye(3, dtype=np.float32)[[0]])

    probabilities = np.exp([logit, 0.0, 0.0]) / np.exp([logit, 0.0, 0.0]).sum()
    true = probabilities[0]
    by_probability = 2.0 * (1 - true) * np.log(true) - (1 - true) ** 2 / true
    gradient = by_probability * true * (np.eye(3)[0] - probabilities)
    np.testing.assert_allclose(logits.get_weights()[0][0], [logit, 0.0, 0.0] - gradient, rtol=1e-4, atol=1e-5)


def test_focal_loss_counts_sure_photos_less_and_stays_finite_at_the_ends():
    loss = training_loss(config(loss="focal"), COUNTS)
    labels = np.eye(3)[[0]]
    losses = [float(loss(labels, np.array([[p, 1 - p, 0.0]]))) for p in (0.0, 0.5, 0.9, 1.0)]
    assert all(np.isfinite(losses))
    assert losses == sorted(losses, reverse=True)
    assert losses[2] < 0.02 * -np.log(0.9) < -np.log(0.9)
