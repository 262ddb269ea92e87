"""Tiny classifiers of two layers whose predictions differ between photos."""

import keras
import numpy as np

from carcls.inference.ensemble import Member
from carcls.models.classifier import Classifier

NAMES = ("a", "b", "c")


def tiny_member(
    trunk_seed, head_seed, size_px, *, policy="float32", pooling=keras.layers.GlobalAveragePooling2D, names=NAMES
):
    """Equal trunk seeds and sizes give equal trunks."""
    trunk_rng, head_rng = np.random.default_rng(trunk_seed), np.random.default_rng(head_seed)
    pixels = keras.Input((size_px, size_px, 3), dtype="float32", name="pixels")
    scaled = keras.Input((size_px, size_px, 3))
    features = keras.layers.Conv2D(4, 3, activation="relu", dtype=policy, name="conv")(scaled)
    backbone = keras.Model(scaled, features, name="backbone")
    pooled = pooling(name="head_pool", dtype=policy)(backbone(pixels / 255.0))
    logits = keras.layers.Dense(len(names), dtype="float32", name="head_logits")(pooled)
    model = keras.Model(pixels, keras.layers.Softmax(dtype="float32", name="head_softmax")(logits), name="classifier")
    for variable, rng in zip(model.weights, (trunk_rng, trunk_rng, head_rng, head_rng), strict=True):
        variable.assign(rng.normal(scale=0.7, size=variable.shape))
    return Member(Classifier(model, backbone, "MobileNet"), size_px)
