import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.augment.mixing import Mixing
from carcls.augment.views import view
from carcls.config import AugmentConfig, TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.errors import ConfigError
from carcls.input.batches import training_batches
from carcls.input.epoch_plan import EpochPlan, batch_count, batch_slice, view_numbers
from carcls.input.prefetch import EpochBatches
from carcls.input.training_data import TrainingData
from carcls.splits.split import make_split
from carcls.store import Store


def config(
    *, policy: str = "none", views: int = 0, batch_size: int = 4, seed: int = 0, class_balance: str = "none", **mixing
) -> TrainConfig:
    return TrainConfig(
        backbone="MobileNet",
        image_size=32,
        batch_size=batch_size,
        seed=seed,
        class_balance=class_balance,
        augment=AugmentConfig(policy=policy, views=views, **mixing),
        stages=({"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3},),
    )


@settings(deadline=None)  # machines are busy
@given(st.integers(1, 300), st.integers(1, 100))
def test_only_batches_of_two_can_leave_a_photo_alone(photos: int, batch_size: int) -> None:
    places = [
        batch_slice(number, photos=photos, batch_size=batch_size) for number in range(batch_count(photos, batch_size))
    ]
    sizes = [place.stop - place.start for place in places]
    assert [place.start for place in places] == [0, *(place.stop for place in places[:-1])]
    assert (sum(sizes), max(sizes) <= batch_size, max(sizes) - min(sizes) <= 1) == (photos, True, True)
    alone = sizes.count(1)
    if batch_size == 2:
        assert alone == photos % 2
    else:
        assert alone == (photos if 1 in (photos, batch_size) else 0)


def planted_plan(
    count: int, *, batch_size: int = 4, order_seed: int = 0, policy: str = "none", mixup: float = 0.0
) -> EpochPlan:
    """Photo i encodes i in its first two pixel values and has label i mod 3."""
    pixels = np.zeros((count, 32, 32, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return EpochPlan(
        pixels=pixels,
        labels=np.arange(count) % 3,
        order=np.random.default_rng(order_seed).permutation(count),
        class_count=3,
        batch_size=batch_size,
        policy=policy,
        view_seed=1,
        views=np.full(count, 2),
        mixing=Mixing(mixup, cutmix=0.0, seed=0, epoch=0),
    )


def photo_numbers(x: np.ndarray) -> np.ndarray:
    return x[:, 0, 0, 0].astype(int) + 256 * x[:, 0, 0, 1].astype(int)


def all_batches(batches: EpochBatches) -> list[tuple[np.ndarray, np.ndarray]]:
    return [batches[number] for number in range(len(batches))]


def batch_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("batches")}


@pytest.fixture
def data(tmp_path, make_root) -> TrainingData:
    dataset = load_dataset(make_root({"0": 9, "1": 6, "2": 4}), processes=1)
    split = make_split(dataset, fraction=0.25, seed=0)
    return TrainingData(split, Store(tmp_path / "store"), view_seed=7)


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 9), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_an_epoch_has_every_photo_once_with_its_own_label(count, batch_size, order_seed, threads):
    plan = planted_plan(count, batch_size=batch_size, order_seed=order_seed)
    batches = all_batches(EpochBatches(plan, threads=threads))
    sizes = [len(x) for x, _ in batches]
    assert len(sizes) == -(-count // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    seen = np.concatenate([photo_numbers(x) for x, _ in batches])
    assert seen.tolist() == plan.order.tolist()
    y = np.concatenate([y for _, y in batches])
    assert y.dtype == np.float32
    assert np.array_equal(y, np.eye(3, dtype=np.float32)[seen % 3])


def test_no_validation_photo_is_ever_in_a_training_batch(data):
    validation = {photo.tobytes() for photo in data.pixels("validation", 32)}
    train = sorted(photo.tobytes() for photo in data.pixels("train", 32))
    assert validation
    for epoch in range(5):
        batches = all_batches(training_batches(data, config(), epoch=epoch, size_px=32))
        shown = [photo.tobytes() for x, _ in batches for photo in x]
        assert not validation & set(shown)
        assert sorted(shown) == train


def test_views_are_those_of_the_epoch_and_the_photos_place_in_the_table(data):
    setting = config(policy="medium", views=2)
    photos, labels = data.pixels("train", 32), data.split.train.labels
    for epoch in (0, 1, 2):
        batches = training_batches(data, setting, epoch=epoch, size_px=32)
        done = 0
        for x, y in all_batches(batches):
            places = batches.plan.order[done : done + len(x)]
            done += len(x)
            expected = [view("medium", photos[i], seed=7, view=epoch % 2, index=int(i)) for i in places]
            assert np.array_equal(x, np.stack(expected))
            assert y.argmax(axis=1).tolist() == labels[places].tolist()


def test_epoch_seed_and_nothing_else_fix_the_order(data):
    def order(epoch: int, seed: int, **other) -> list[int]:
        return training_batches(data, config(seed=seed, **other), epoch=epoch, size_px=32).plan.order.tolist()

    assert order(3, 5) == order(3, 5, batch_size=2) == order(3, 5, policy="strong", views=3)
    assert len({tuple(order(epoch, seed)) for epoch in range(3) for seed in range(3)}) == 9


@pytest.mark.parametrize(("policy", "mixup"), [("none", 0.0), ("strong", 0.0), ("none", 0.4)])
def test_threads_and_the_order_of_asking_change_no_value(policy, mixup):
    plan = planted_plan(41, policy=policy, mixup=mixup)
    expected = [plan.batch(number) for number in range(plan.batch_count)]
    for threads in (1, 2, 4):
        batches = EpochBatches(plan, threads=threads)
        asked = [0, 1, 0, 1, 2, 9, 3, 10, 5, 0, 10]
        for number in [*asked, *range(len(batches))]:
            x, y = batches[number]
            assert np.array_equal(x, expected[number][0])
            assert np.array_equal(y, expected[number][1])


def test_batches_past_the_end_raise():
    batches = EpochBatches(planted_plan(9))
    for number in (3, -1):
        with pytest.raises(IndexError, match="of an epoch of 3"):
            batches[number]


def test_threads_end_with_the_epoch_and_with_the_object():
    before = batch_threads()
    finished = EpochBatches(planted_plan(40), threads=2)
    all_batches(finished)
    abandoned = EpochBatches(planted_plan(4_000), threads=2)
    assert len(abandoned[0][0]) == 4
    del abandoned
    gc.collect()
    deadline = time.monotonic() + 10
    while batch_threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert batch_threads() <= before  # threads of an earlier test may have ended meanwhile


def test_an_error_in_a_thread_reaches_the_caller():
    plan = planted_plan(8, policy="wild")
    with pytest.raises(KeyError, match="wild"):
        EpochBatches(plan)[0]


@pytest.mark.parametrize(("views", "expected"), [(0, [0, 7, 8, 5]), (4, [0, 3, 0, 1]), (1, [0, 0, 0, 0])])
def test_view_numbers(views, expected):
    assert view_numbers(np.array([0, 7, 8, 5]), views).tolist() == expected


def test_balanced_sampling_shows_a_photo_that_comes_again_in_its_next_view(data):
    """14 photos in classes of 7, 4 and 3: the cycles of the two smaller classes wrap within the epoch."""
    setting = config(policy="light", views=3, class_balance="sampling")
    photos, labels = data.pixels("train", 32), data.split.train.labels
    shown: dict[int, int] = dict.fromkeys(range(len(labels)), 0)
    for epoch in range(3):
        batches = training_batches(data, setting, epoch=epoch, size_px=32)
        plan = batches.plan
        of_epoch: dict[int, list[int]] = {}
        for photo, number in zip(plan.order.tolist(), plan.views.tolist(), strict=True):
            of_epoch.setdefault(photo, []).append(number)
        assert any(len(numbers) > 1 for numbers in of_epoch.values())
        for photo, numbers in of_epoch.items():
            assert sorted(numbers) == sorted((shown[photo] + again) % 3 for again in range(len(numbers)))
            shown[photo] += len(numbers)
        x = np.concatenate([x for x, _ in all_batches(batches)])
        y = np.concatenate([y for _, y in all_batches(batches)])
        places = zip(plan.order.tolist(), plan.views.tolist(), strict=True)
        expected = [view("light", photos[i], seed=7, view=number, index=i) for i, number in places]
        assert np.array_equal(x, np.stack(expected))
        assert y.argmax(axis=1).tolist() == labels[plan.order].tolist()
        assert max(y.sum(axis=0)) - min(y.sum(axis=0)) <= 1
        assert len(x) == len(labels)


def test_an_invalid_policy_file_is_refused_before_any_batch(data, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("transform: {__class_fullname__: Lambda, p: 1.0}")
    with pytest.raises(ConfigError, match=r"bad\.yaml: `transform` \(Lambda\): a file cannot hold a function"):
        training_batches(data, config(policy=str(bad)), epoch=0, size_px=32)


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_batches_are_mixed_by_epoch_number_and_the_trainings_seed(data, mixing):
    def mixed(epoch: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        setting = config(policy="light", seed=seed, **mixing)
        return all_batches(training_batches(data, setting, epoch=epoch, size_px=32))

    plain = training_batches(data, config(policy="light", seed=3), epoch=1, size_px=32).plan
    for number, (x, y) in enumerate(mixed(1, 3)):
        expected = Mixing(**{"mixup": 0.0, "cutmix": 0.0, **mixing}, seed=3, epoch=1).apply(plain.batch(number), number)
        assert np.array_equal(x, expected[0])
        assert np.array_equal(y, expected[1])
        assert len(x) == len(plain.batch(number)[0])
    assert any(not np.array_equal(x, plain.batch(number)[0]) for number, (x, _) in enumerate(mixed(1, 3)))


def test_keras_fits_on_each_photo_once(data):
    """With Keras's real adapter, a model that returns its input's mean sees each photo once, in the plan's order."""
    import keras

    seen: list[int] = []

    class Recorder(keras.layers.Layer):
        def call(self, x):
            return keras.ops.mean(keras.ops.cast(x, "float32"), axis=(1, 2))

    class Remember(keras.Model):
        def train_step(self, batch):
            x, _ = batch
            seen.extend(photo_numbers(x.numpy()).tolist())
            return {"loss": 0.0}

    inputs = keras.Input((32, 32, 3), dtype="uint8")
    model = Remember(inputs, Recorder()(inputs))
    model.compile(loss="categorical_crossentropy", run_eagerly=True)
    plan = planted_plan(21)
    model.fit(EpochBatches(plan), epochs=1, shuffle=False, verbose=0)
    assert seen == plan.order.tolist()


def test_a_closed_epoch_holds_no_pixels_and_says_so():
    batches = EpochBatches(planted_plan(9))
    first = batches[0]
    batches.close()
    assert batches.plan is None
    assert len(batches) == 3
    assert len(first[0]) == 3
    with pytest.raises(ValueError, match="closed"):
        batches[1]


def test_erasing_comes_after_the_view_whether_stored_or_not(data):
    """The same noise over the same view, and nowhere without the key."""
    plain = config(policy="light", views=2)
    erased = config(policy="light", views=2, erase=1.0)
    cached = config(policy="light", views=2, erase=1.0, cache_views=True)
    (without, _), (x, y), (stored, _) = (
        training_batches(data, one, epoch=1, size_px=16)[0] for one in (plain, erased, cached)
    )
    assert (x != without).any(axis=(1, 2, 3)).all()
    assert (x == without).mean() > 0.5
    np.testing.assert_array_equal(x, stored)
    assert y.sum() == len(y)


def test_erasing_alone_makes_each_epoch_another(data):
    one = config(erase=1.0)
    first, second = (training_batches(data, one, epoch=epoch, size_px=16)[0][0] for epoch in (0, 1))
    assert (first != data.pixels("train", 16)[: len(first)]).any()
    assert first.shape == second.shape
    assert (first != second).any()
