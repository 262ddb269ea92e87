"""A final training compiles one step and one prediction for each of its stages, and one prediction for all views.

Few photos stand for the contest's split: batches and their parts differ by one photo, and the last batch of validation
is short.
"""

from dataclasses import replace

import numpy as np

from carcls.config import TrainConfig
from carcls.inference.export import export_model, load_model
from carcls.inference.tta import VIEWS, predict_view
from carcls.input.epoch_plan import batch_count, batch_slice
from carcls.store import Store
from carcls.training.fine_tuning import fine_tune, load_best
from carcls.training.steps.micro_batches import accumulation
from tests.helpers.compilations import counted_compilations

STAGES = [
    {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 1e-2},
    {"name": "half", "unfreeze": 0.5, "epochs": 2, "learning_rate": 1e-3},
    {"name": "most", "unfreeze": 0.75, "epochs": 2, "learning_rate": 1e-3},
    {"name": "all", "unfreeze": 1.0, "epochs": 2, "learning_rate": 1e-3, "image_scale": 1.5},
]
MICRO_BATCH = [None, None, 3, None]


def recipe(weights, **changes) -> TrainConfig:
    values = {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": str(weights),
        "image_size": 32,
        "batch_size": 5,
        "head": {"units": 8, "batch_norm": False},
        "augment": {"policy": "none"},
        "stages": STAGES,
    }
    return TrainConfig.model_validate(values | changes)


def test_these_photos_have_the_remainders_of_the_contest(data, weights):
    train, validation = len(data.split.train), len(data.split.validation)
    sizes = {place.stop - place.start for n in range(4) for place in [batch_slice(n, photos=train, batch_size=5)]}
    assert (train, validation, batch_count(train, 5), sizes) == (18, 6, 4, {4, 5})
    parts = accumulation(MICRO_BATCH, recipe(weights), 2, photos=train).parts
    assert {part.rows.stop - part.rows.start for part in parts} == {2, 3}
    contest, batch = 15_561 * 85 // 100, 32
    contest_sizes = {
        place.stop - place.start
        for n in range(batch_count(contest, batch))
        for place in [batch_slice(n, photos=contest, batch_size=batch)]
    }
    assert contest_sizes == {31, 32}


def test_a_final_training_compiles_each_stage_once(data, weights, tmp_path):
    config, reports = recipe(weights), []
    data = replace(data, store=Store(tmp_path / "store"))  # features that another test stored would not be computed
    with counted_compilations() as training:
        fine_tune(config, data, reports.append, folder=tmp_path, micro_batch=MICRO_BATCH)
    assert [report.micro_batch for report in reports[::2]] == MICRO_BATCH
    assert training.training == len(STAGES)
    # The backbone's features, the head, and the whole model at two sizes; in parts it predicts fewer photos at once.
    assert training.prediction == 5

    with counted_compilations() as scoring:
        classifier, size_px = load_best(config, tmp_path, reports[-1], class_count=3)
        pixels = data.pixels("validation", size_px)
        scored = {view: predict_view(classifier.model, pixels, view, batch_size=5) for view in VIEWS}
    assert scoring.prediction == 1
    assert scoring.training == 0

    path, table = tmp_path / "model.keras", data.split.validation
    export_model(path, classifier, class_names="abc", config=config, size_px=size_px, tta_views=("plain", "flip"))
    with counted_compilations() as predicting:
        said = load_model(path).predict_files([table.root / photo for photo in table.paths], batch_size=5)
    assert predicting.prediction == 1
    expected = (scored["plain"] + scored["flip"]).max(axis=1) / 2
    np.testing.assert_allclose([one.probability for one in said], expected, rtol=1e-4)


def test_stages_of_one_size_share_their_prediction(data, weights, tmp_path):
    """Which layers train is not part of a prediction, although JAX's programs have its variables as arguments."""
    stages = [{"name": f"top{n}", "unfreeze": n / 10, "epochs": 1, "learning_rate": 1e-3} for n in (1, 2)]
    with counted_compilations() as found:
        fine_tune(recipe(weights, stages=stages), data, lambda _: None, folder=tmp_path)
    assert (found.training, found.prediction) == (2, 1)
