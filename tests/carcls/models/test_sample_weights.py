import json

import numpy as np
import pytest

from carcls.demo.cars import car_models
from carcls.models.sample_weights import PATH


def test_the_file_is_small_plain_and_says_where_it_comes_from():
    assert PATH.stat().st_size < 2_000_000
    with np.load(PATH, allow_pickle=False) as file:
        meta = json.loads(str(file["meta"]))
        paths = [str(path) for path in file["paths"]]
        arrays = [file[f"{i:04d}"] for i in range(len(paths))]
    assert (meta["backbone"], meta["alpha"], meta["size_px"]) == ("MobileNetV2", 0.35, 96)
    assert "carcls.models.sample_weights.train" in meta["command"]
    assert len(set(paths)) == len(paths)
    assert all(array.dtype == np.float16 and np.isfinite(array).all() for array in arrays)


def test_it_fills_the_backbone_and_tells_unseen_models_apart_at_a_glance():
    from benchmarks.sample_weights import draw
    from carcls.models.backbones import build_backbone
    from carcls.models.weights import load_backbone_weights

    backbone = build_backbone("MobileNetV2", 0.35, 96)
    load_backbone_weights(backbone, PATH)
    photos, labels = draw(5, 24, family=0, seed=7)
    features = backbone.predict(photos.astype(np.float32) / 127.5 - 1, batch_size=60, verbose=0).mean(axis=(1, 2))
    features -= features.mean(axis=0)
    known = np.arange(len(labels)) % 24 < 16
    centres = np.stack([features[known & (labels == number)].mean(axis=0) for number in range(5)])
    nearest = np.argmax(features[~known] @ centres.T / np.linalg.norm(centres, axis=1), axis=1)
    assert (nearest == labels[~known]).mean() > 0.6  # chance is 0.2


def test_traits_are_standardised_and_flag_each_kind_once():
    from benchmarks.sample_weights import traits

    models = car_models(40, family=2)
    table = traits(models)
    assert table.shape[0] == 40
    assert table.mean(axis=0) == pytest.approx(0, abs=1e-5)
    heights = np.array([model.height for model in models])
    correlations = [np.corrcoef(column, heights)[0, 1] for column in table.T if column.std() > 0]
    assert max(correlations) == pytest.approx(1.0)
    assert np.isin(np.round(table.std(axis=0), 4), (0.0, 1.0)).all()
