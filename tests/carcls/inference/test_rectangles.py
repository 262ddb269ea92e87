"""Rectangular photos from training to prediction."""

import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.frames import Frame
from carcls.inference.ensemble import Member, averaged, largest_size
from carcls.inference.export import export_model, load_model
from carcls.inference.tta import VIEWS, predict_view
from carcls.input.training_data import TrainingData
from carcls.models.classifier import build_classifier
from carcls.scoring import metrics
from carcls.splits.split import make_split
from carcls.store import Store
from carcls.training.fine_tuning import fine_tune, load_best

CONFIG = TrainConfig.model_validate(
    {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": "none",
        "image_size": [32, 48],
        "fit": "pad",
        "batch_size": 4,
        "head": {"layers": [{"kind": "dense", "width": 8, "bias": False}, {"kind": "batch_norm"}, {"kind": "relu"}]},
        "augment": {"policy": "light", "cutmix": 1.0},
        "stages": [
            {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.01},
            {"name": "top", "unfreeze": 0.1, "epochs": 1, "learning_rate": 0.001, "image_scale": 1.5},
        ],
    }
)
LARGE = Frame(48, 72, "pad")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingData:
    import cv2

    root = tmp_path_factory.mktemp("tall")
    rows = ["Id,Category"]
    for number in range(12):
        path = root / "train" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = np.random.default_rng(number).integers(0, 256, (60, 40, 3)) // (1 + number % 2)
        cv2.imwrite(str(path), photo.astype(np.uint8))
        rows.append(f"{number}.png,{number % 2}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    split = make_split(load_dataset(root, processes=1), fraction=0.34, seed=0)
    return TrainingData(split, Store(root / "store"), view_seed=0)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("trial"), []
    fine_tune(CONFIG, data, reports.append, folder=folder)
    return folder, reports


def test_reports_name_height_and_width(trained):
    _, reports = trained
    assert [report.image_size for report in reports] == ["32x48", "48x72"]


def test_an_exported_model_knows_its_shape_and_fit(data, trained, tmp_path):
    folder, reports = trained
    classifier, size = load_best(CONFIG, folder, reports[-1], class_count=2)
    assert size in (Frame(32, 48, "pad"), LARGE)
    path, table = tmp_path / "model.keras", data.split.validation
    export_model(path, classifier, class_names=("0", "1"), config=CONFIG, size_px=size, tta_views=("plain",))
    loaded = load_model(path)
    assert loaded.card.size == size
    predicted = predict_view(loaded.model, data.pixels("validation", size), "plain", batch_size=4)
    best = reports[-1] if reports[-1].best_weights.endswith("0002.npz") else reports[0]
    assert metrics.log_loss(predicted, table.labels) == pytest.approx(best.val_log_loss, rel=1e-3)
    found = loaded.predict_files([table.root / name for name in table.paths], batch_size=3)
    np.testing.assert_allclose([one.probability for one in found], predicted.max(axis=1), rtol=1e-4)


@pytest.mark.parametrize("view", list(VIEWS))
def test_every_view_keeps_the_shape(view):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    seen = VIEWS[view](pixels)
    assert (seen.shape, seen.dtype) == (pixels.shape, np.uint8)
    assert (view == "plain") == np.array_equal(seen, pixels)


def _member(size: Frame | int, **changes) -> Member:
    config = TrainConfig.model_validate(CONFIG.model_dump() | changes)
    return Member(build_classifier(config, size_px=size, class_count=2, weights=None), size)


def test_members_of_one_shape_are_averaged_at_the_largest_size():
    members = [_member(Frame(32, 48, "pad")), _member(LARGE)]
    assert largest_size(members) == LARGE
    assert averaged(members).input_shape == (None, 48, 72, 3)


@pytest.mark.parametrize("other", [Frame(48, 72, "crop"), Frame(48, 48, "pad"), 48], ids=str)
def test_members_that_see_other_parts_of_a_photo_are_refused(other):
    with pytest.raises(ValueError, match="fit them in different ways"):
        averaged([_member(LARGE), _member(other)])
