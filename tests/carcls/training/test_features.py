"""Features of a frozen backbone: computed once, shared, and identical trainings with and without the store."""

import logging
from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.config.kept_features import views_can_be_shared
from carcls.events import PhaseSeconds, StoreUse
from carcls.models.classifier import build_classifier
from carcls.models.trunk_and_head import split
from carcls.splits.k_folds import make_folds
from carcls.store import Store
from carcls.store.inventory import survey
from carcls.training.features import FrozenBackbone, as_stored, stored_features, tracing_s
from carcls.training.fine_tuning import fine_tune

HEAD = {"name": "head", "unfreeze": 0.0, "epochs": 3, "learning_rate": 0.01}
TOP = {"name": "top", "unfreeze": 0.2, "epochs": 1, "learning_rate": 0.001, "image_scale": 1.5}
AGAIN = {"name": "again", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.001}


def config(weights, *stages, **changes) -> TrainConfig:
    base = {"backbone": "MobileNet", "alpha": 0.25, "weights": str(weights), "image_size": 32, "batch_size": 8}
    augment = {"augment": {"policy": "light", "views": 2}}
    return TrainConfig.model_validate(base | augment | {"stages": stages} | changes)


def train(recipe, data, folder):
    reports = []
    fine_tune(recipe, data, reports.append, folder=folder)
    return reports


def told(reports):
    return [replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0)) for report in reports]


def kinds(store: Store) -> Counter:
    return Counter(entry.read_trailer().artefact.key["kind"] for entry in survey(store.root))


@pytest.fixture
def fresh(data, tmp_path):
    return replace(data, store=Store(tmp_path / "store"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="views"),
        *(
            pytest.param(changes, id=name, marks=pytest.mark.slow)
            for name, changes in {
                "cached": {"augment": {"policy": "light", "views": 2, "cache_views": True}},
                "plain": {"augment": {"policy": "none"}},
                "sampling": {"class_balance": "sampling"},
                "mixup": {"augment": {"policy": "light", "views": 2, "mixup": 0.4}},
            }.items()
        ),
    ],
)
def test_the_store_changes_no_number_in_any_stage(weights, fresh, tmp_path, changes):
    recipe = config(weights, HEAD, TOP, AGAIN, **changes)
    off = replace(fresh, store=Store(tmp_path / "unused", enabled=False))
    shared = told(train(recipe, fresh, tmp_path / "on"))
    alone = told(train(recipe, off, tmp_path / "off"))
    for one, other in zip(shared, alone, strict=True):
        assert (one.epoch, one.val_accuracy, one.best_weights) == (other.epoch, other.val_accuracy, other.best_weights)
        # Features are computed in the same batches, so that only threads can change sums.
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.val_log_loss == pytest.approx(other.val_log_loss, rel=1e-4)
    assert not (tmp_path / "unused").exists()


def test_a_backbone_sees_each_view_once_over_all_epochs_and_trials(weights, fresh, tmp_path):
    train(config(weights, HEAD), fresh, tmp_path / "first")
    assert kinds(fresh.store) == {"pixels": 2, "features": 3}, "two views and the plain validation photos"
    train(config(weights, HEAD, batch_size=6, seed=3), fresh, tmp_path / "second")
    assert kinds(fresh.store)["features"] == 3
    train(config(weights, HEAD, head={"pooling": "max"}), fresh, tmp_path / "other")
    assert kinds(fresh.store)["features"] == 6


def by_rows(size_px):
    """A frozen backbone with distinct features per photo, and the photos that it has seen."""
    seen = []

    def trunk(pixels, at_once):
        seen.append(len(pixels))
        return pixels.reshape(len(pixels), -1)[:, :24].astype(np.float32)

    return FrozenBackbone(trunk, width=24, size_px=size_px, identity="fake"), seen


def test_folds_share_the_plain_features_of_the_studys_photos(weights, fresh):
    study, recipe = fresh.split, config(weights, HEAD)
    backbone, seen = by_rows(32)
    for part in ("train", "validation"):
        stored_features(backbone, recipe, fresh, part, None)
    folds = make_folds(study, count=3, seed=0)
    for number in range(3):
        fold = replace(fresh, split=folds.split(number), shared=(study.train, study.validation))
        alone = replace(fold, shared=(), store=Store(fresh.store.root / "alone"))
        for part in ("train", "validation"):
            asked, own = by_rows(32), by_rows(32)
            found = stored_features(asked[0], recipe, fold, part, None)
            np.testing.assert_array_equal(found, stored_features(own[0], recipe, alone, part, None))
            assert (sum(asked[1]), sum(own[1])) == (0, len(fold.table(part)))
            view = stored_features(asked[0], recipe, fold, "train", 0)
            np.testing.assert_array_equal(view, stored_features(own[0], recipe, alone, "train", 0))
    assert sum(seen) == 24
    assert kinds(fresh.store) == {"pixels": 2, "features": 2 + 3}, "and a view of each fold's training photos"


def test_without_a_store_a_fold_computes_its_own_features_alone(weights, fresh):
    study = fresh.split
    split = make_folds(study, count=3, seed=0).split(1)
    off = Store(fresh.store.root / "unused", enabled=False)
    data = replace(fresh, split=split, store=off, shared=(study.train, study.validation))
    for part in ("train", "validation"):
        backbone, seen = by_rows(32)
        found = stored_features(backbone, config(weights, HEAD), data, part, None)
        expected = data.pixels(part, 32)[:].reshape(len(found), -1)[:, :24]
        np.testing.assert_array_equal(found, expected.astype(np.float16))
        assert sum(seen) == len(data.table(part))


@pytest.mark.parametrize("policy", ["none", pytest.param("light", marks=pytest.mark.slow)])
def test_a_fold_trains_to_the_same_numbers_on_shared_photos(weights, fresh, tmp_path, policy):
    study = fresh.split
    recipe = config(weights, HEAD, TOP, augment={"policy": policy, "views": 2})
    split = make_folds(study, count=3, seed=0).split(0)
    fold = replace(fresh, split=split, shared=(study.train, study.validation))
    shared = told(train(recipe, fold, tmp_path / "shared"))
    alone = told(train(recipe, replace(fold, shared=(), store=Store(tmp_path / "own")), tmp_path / "alone"))
    for one, other in zip(shared, alone, strict=True):
        # Features are computed in other batches, so rounding may differ before the cast to float16.
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.val_log_loss == pytest.approx(other.val_log_loss, rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"augment": {"policy": "light", "views": 2, "cache_views": True}}])
def test_each_long_build_reports_progress_in_later_epochs_too(weights, fresh, caplog, monkeypatch, changes):
    """A training that is silent for ten times its epochs counts as stuck, so a build must log progress."""
    monkeypatch.setattr("carcls.store.build_progress._EVERY_S", 0.0)
    monkeypatch.setattr("carcls.training.steps.feature_batches._PIXELS", 8 * 32 * 32)
    monkeypatch.setattr("carcls.input.stored_views._PHOTOS_AT_ONCE", 8)
    ended: list[int] = []
    said: list[tuple[int, str]] = []

    class Listening(logging.Handler):
        def emit(self, record):
            said.append((len(ended), record.getMessage().partition(":")[0]))

    monkeypatch.setattr(logging.getLogger("carcls.store"), "handlers", [Listening(logging.INFO)])
    caplog.set_level(logging.INFO, "carcls.store")
    stage = TOP | {"image_scale": 1.0, "epochs": 2} if changes else HEAD
    folder = fresh.store.root.parent / "trial"
    fine_tune(config(weights, stage, **changes), fresh, lambda report: ended.append(report.epoch), folder=folder)
    built = "view {} at 32 px" if changes else "features of MobileNet at 32 px"
    assert {(0, f"building {built.format(0)}"), (1, f"building {built.format(1)}")} <= set(said)
    assert not [what for epoch, what in said if epoch == 2]


def test_epochs_tell_what_they_built_and_what_they_were_spared(weights, fresh, tmp_path):
    epochs = [report.store for report in train(config(weights, HEAD), fresh, tmp_path / "first")]
    assert [(use.built, use.reused) for use in epochs] == [
        (4, 0),  # pixels and features of both parts
        (1, 2),  # the other view, from existing pixels; the validation photos' features
        (0, 2),  # the first view again, the validation photos' features
    ]
    took = {
        (
            trailer.artefact.key["kind"],
            str(trailer.artefact.key.get("view")),
            trailer.artefact.shape[0],
        ): trailer.build_s
        for trailer in (entry.read_trailer() for entry in survey(fresh.store.root))
    }
    assert sum(use.built_s for use in epochs) == pytest.approx(sum(took.values()), rel=1e-3)
    plain = took["features", "None", 6]
    [first_view] = [seconds for (_, view, _), seconds in took.items() if view.endswith(", 0]")]
    assert epochs[1].saved_s == pytest.approx(took["pixels", "None", 18] + plain, rel=1e-3)
    assert epochs[2].saved_s == pytest.approx(first_view + plain, rel=1e-3)
    other = [report.store for report in train(config(weights, HEAD, seed=3), fresh, tmp_path / "second")]
    assert [(use.built, use.reused) for use in other] == [(0, 2)] * 3
    off = replace(fresh, store=Store(tmp_path / "unused", enabled=False))
    assert [report.store for report in train(config(weights, HEAD), off, tmp_path / "off")] == [StoreUse()] * 3


def test_feature_time_excludes_tracing(weights, fresh, monkeypatch):
    now_s, calls = [0.0], []

    def trunk(pixels, at_once):
        now_s[0] += 2.0 if calls else 50.0
        calls.append(len(pixels))
        return np.zeros((len(pixels), 3), np.float32)

    monkeypatch.setattr("time.perf_counter", lambda: now_s[0])
    backbone = FrozenBackbone(trunk, width=3, size_px=448, identity="fake")
    stored_features(backbone, config(weights, HEAD), fresh, "train", None)
    assert calls == [16, 2]
    [built] = [t for t in (entry.read_trailer() for entry in survey(fresh.store.root)) if t.artefact.shape == (18, 3)]
    assert built.build_s == 4.0


def test_tracing_is_the_first_calls_excess():
    assert tracing_s([5.0, 1.0, 3.0, 2.0]) == 3.0
    assert tracing_s([1.0, 2.0]) == 0.0
    assert tracing_s([5.0]) == 5.0, "it cannot be told apart"
    assert tracing_s([]) == 0.0


def test_a_backbone_that_was_trained_shares_nothing(weights, fresh, tmp_path):
    train(config(weights, TOP | {"image_scale": 1.0}, AGAIN), fresh, tmp_path)
    assert kinds(fresh.store) == {"pixels": 2}


def test_mixed_photos_are_told_and_not_kept(weights, fresh, tmp_path):
    recipe = config(weights, HEAD, augment={"policy": "light", "views": 2, "cutmix": 1.0})
    reports = train(recipe, fresh, tmp_path)
    assert [report.notes for report in reports] == [
        ("mixup or cutmix: features are recomputed in every epoch",),
        (),
        (),
    ]
    assert kinds(fresh.store)["features"] == 1, "the plain validation photos"


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({}, True),
        ({"class_balance": "sampling"}, True),
        ({"augment": {"policy": "light", "views": 0}}, True),
        ({"class_balance": "sampling", "augment": {"policy": "light", "views": 0}}, False),
        ({"class_balance": "sampling", "augment": {"policy": "none", "views": 0}}, True),
        ({"augment": {"mixup": 0.2}}, False),
        ({"augment": {"cutmix": 0.2}}, False),
    ],
)
def test_views_can_be_shared_unless_mixed_or_scattered(weights, changes, shared):
    assert views_can_be_shared(config(weights, HEAD, **changes)) == shared


def test_head_after_trunk_is_the_classifier(weights, data):
    recipe = config(weights, HEAD, head={"units": 8, "batch_norm": True})
    classifier = build_classifier(recipe, size_px=32, class_count=3, weights=weights)
    parts = split(classifier)
    pixels = data.pixels("validation", 32)
    features = np.asarray(parts.trunk.predict_on_batch(pixels))
    assert features.shape == (6, 256)
    whole = np.asarray(classifier.model.predict_on_batch(pixels))
    np.testing.assert_allclose(np.asarray(parts.head.predict_on_batch(features)), whole, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(parts.head.predict_on_batch(as_stored(features))), whole, atol=2e-3)
    own = {id(variable) for variable in classifier.model.weights}
    assert {id(variable) for part in (parts.trunk, parts.head) for variable in part.weights} == own


def test_features_beyond_float16_become_its_largest_number():
    stored = as_stored(np.array([1.0, 1e6, -1e6, np.nan], np.float32))
    np.testing.assert_array_equal(stored, np.array([1.0, 65504.0, -65504.0, np.nan], np.float16))


def test_a_frozen_backbone_has_no_stochastic_depth(data, tmp_path):
    """In training mode EfficientNet drops whole branches at random, which must not affect features."""
    recipe = config("none", HEAD, backbone="EfficientNetB0", alpha=1.0)
    classifier = build_classifier(recipe, size_px=32, class_count=3, weights=None)
    trunk = split(classifier).trunk
    pixels = data.pixels("validation", 32)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in classifier.backbone.layers)
    once, again = (np.asarray(trunk.predict_on_batch(pixels)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
