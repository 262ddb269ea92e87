import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.loading import load_dataset
from carcls.errors import DataError
from carcls.frames import Frame
from carcls.input.pixels import PhotosOnDemand, decode, pixels, pixels_bytes, pixels_key, resize, try_pixels
from carcls.input.training_data import TrainingData
from carcls.splits.split import make_split
from carcls.store import Store


def pixels_in_child(root: Path, store: Path) -> list[int]:
    table = load_dataset(root, processes=2).train
    return pixels(table, 16, Store(store), processes=2).sum(axis=(1, 2, 3)).tolist()


def test_rows_are_the_photos_of_the_table(tmp_path, make_root):
    table = load_dataset(make_root({"0": 3, "1": 2}), processes=1).train
    stored = pixels(table, 16, Store(tmp_path / "store"), processes=1)
    assert (stored.shape, stored.dtype) == ((5, 16, 16, 3), np.uint8)
    for row, path in zip(stored, table.paths, strict=True):
        assert np.array_equal(row, decode(table.root / path, 16))
    reversed_rows = pixels(table.select([4, 3, 2, 1, 0]), 16, Store(tmp_path / "store"), processes=1)
    assert np.array_equal(reversed_rows, stored[::-1])


def test_processes_change_nothing(tmp_path, make_root):
    table = load_dataset(make_root({"0": 9}), processes=1).train
    alone = pixels(table, 16, Store(tmp_path / "one"), processes=1)
    several = pixels(table, 16, Store(tmp_path / "three"), processes=3)
    assert np.array_equal(alone, several)


def pixels_in_daemon(method: str, root: Path, store: Path) -> list[int]:
    with multiprocessing.get_context(method).Pool(1) as pool:  # its workers are daemonic
        return pool.apply_async(pixels_in_child, (root, store)).get(timeout=60)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_works_in_a_daemonic_or_forked_process(tmp_path, make_root, method):
    root = make_root({"0": 4})
    # Forks a fresh process, since this one may have TensorFlow's threads.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        sums = fresh.submit(pixels_in_daemon, method, root, tmp_path / "child").result(timeout=120)
    assert sums == pixels_in_child(root, tmp_path / "here")


def test_the_store_serves_photos_that_are_gone_but_builds_from_none(tmp_path, make_root):
    table = load_dataset(make_root({"0": 2}), processes=1).train
    store = Store(tmp_path / "store")
    before = pixels(table, 16, store, processes=1)
    (table.root / table.paths[1]).unlink()
    assert np.array_equal(pixels(table, 16, store, processes=1), before)
    with pytest.raises(DataError, match=r"train/0/01\.jpg: no such file"):
        pixels(table, 17, store, processes=1)


def test_a_photo_that_changed_since_the_scan_is_named(tmp_path, make_root, write_photo):
    table = load_dataset(make_root({"0": 2}), processes=1).train
    write_photo(table.root / table.paths[0], 99)
    with pytest.raises(DataError, match=r"train/0/00\.jpg: has changed since the data folder was checked"):
        pixels(table, 16, Store(tmp_path / "store"), processes=2)


def test_decode_names_the_file(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"x\.jpg: not a JPEG, PNG or WebP file"):
        decode(tmp_path / "x.jpg", 16)


def test_colours_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    assert decode(tmp_path / "red.png", 4)[0, 0].tolist() == [255, 0, 0]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_resize_is_square_and_keeps_flat_colours(height, width, size, value):
    out = resize(np.full((height, width, 3), value, np.uint8), size)
    assert (out.shape, out.dtype) == ((size, size, 3), np.uint8)
    assert np.abs(out.astype(int) - value).max() <= 1


def test_shrinking_averages_each_axis_by_itself():
    """One-pixel stripes become grey without aliasing, also if the other axis is enlarged."""
    stripes = np.zeros((4, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    out = resize(stripes, 16)
    assert out.min() == out.max() == 100


def test_training_data_gives_each_part_its_own_photos(tmp_path, make_root):
    dataset = load_dataset(make_root({"0": 6, "1": 6}), processes=1)
    split = make_split(dataset, fraction=0.25, seed=0)
    data = TrainingData(split, Store(tmp_path / "store"), view_seed=0)
    for part, table in (("train", split.train), ("validation", split.validation)):
        expected = [decode(table.root / path, 8) for path in table.paths]
        assert np.array_equal(data.pixels(part, 8), np.stack(expected))


@pytest.mark.parametrize("processes", [1, 3])
def test_photos_on_demand_are_bit_equal_to_stored_ones(tmp_path, make_root, processes):
    table = load_dataset(make_root({"0": 11, "1": 9}), processes=1).train
    stored = pixels(table, 16, Store(tmp_path / "store"), processes=2)
    demanded = pixels(table, 16, Store(tmp_path / "none", enabled=False), processes=processes)
    assert isinstance(demanded, PhotosOnDemand)
    assert (demanded.shape, demanded.dtype, demanded.ndim, len(demanded)) == (stored.shape, stored.dtype, 4, 20)
    for rows in (slice(None), slice(3, 17), slice(-5, None), slice(18, 99), np.array([7, 0, 7, -1]), np.array([], int)):
        assert np.array_equal(demanded[rows], stored[rows])
        assert demanded[rows].dtype == np.uint8
        assert demanded[rows].shape == stored[rows].shape
    for row in (0, 19, -1, np.int64(4)):
        assert np.array_equal(demanded[row], stored[row])
    with pytest.raises(IndexError):
        demanded[20]
    assert not (tmp_path / "none").exists()


def test_an_unusable_store_is_reported_once_and_photos_are_still_decoded(tmp_path, make_root, caplog):
    table = load_dataset(make_root({"0": 4}), processes=1).train
    stored = pixels(table, 16, Store(tmp_path / "store"), processes=1)
    small = Store(tmp_path / "small", quota_bytes=1000)
    for _ in range(2):
        for got in (pixels(table, 16, small, processes=1), try_pixels(table, 16, small, processes=1)):
            assert np.array_equal(got[:], stored)
    [line] = caplog.messages
    assert f"store {small.root}: pixels 16 px of 0.0 MB does not fit the quota" in line
    assert line.endswith("continuing without it: slower, with the same results")


def test_photos_on_demand_name_changed_and_missing_photos(tmp_path, make_root, write_photo):
    table = load_dataset(make_root({"0": 3}), processes=1).train
    demanded = PhotosOnDemand(table, 16, processes=2)
    write_photo(table.root / table.paths[0], 99)
    (table.root / table.paths[2]).unlink()
    with pytest.raises(DataError, match=r"train/0/00\.jpg: has changed since the data folder was checked"):
        demanded[0]
    with pytest.raises(DataError, match=r"train/0/02\.jpg: no such file"):
        demanded[1:3]


def test_the_files_size_is_known_in_advance(tmp_path, make_root):
    table = load_dataset(make_root({"0": 30}), processes=1).train
    pixels(table, 64, Store(tmp_path / "store"), processes=1)
    [file] = (tmp_path / "store").glob("*.npy")
    assert 0 <= file.stat().st_size - pixels_bytes(30, 64) < 10_000


def test_while_another_decodes_a_part_this_one_decodes_the_other(tmp_path, make_root):
    dataset = load_dataset(make_root({"0": 6, "1": 6}), processes=1)
    split = make_split(dataset, fraction=0.25, seed=0)
    data = TrainingData(split, Store(tmp_path / "store"), view_seed=0)
    is_building, may_end = threading.Event(), threading.Event()

    def build(blank) -> None:
        is_building.set()
        assert may_end.wait(60)
        blank[:] = 1

    shape = (len(split.train), 8, 8, 3)
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(data.store.get_or_build, data.pixels_key("train", 8), shape, np.uint8, build)
        assert is_building.wait(60)
        mine = pool.submit(data.pixels, "train", 8)
        while not list(data.store.root.glob("*.npy")):
            assert not mine.done()
        may_end.set()
        assert (mine.result(60) == 1).all()  # built by the other one, not again
        assert (other.result(60) == 1).all()
    expected = [decode(split.validation.root / path, 8) for path in split.validation.paths]
    assert np.array_equal(data.pixels("validation", 8), np.stack(expected))


def _bars(height: int, width: int) -> np.ndarray:
    """Columns of red, green and blue, each a third of the width."""
    photo = np.zeros((height, width, 3), np.uint8)
    for channel in range(3):
        photo[:, channel * width // 3 : (channel + 1) * width // 3, channel] = 255
    return photo


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 50), (200, 20)])
def test_a_photo_fills_any_frame_in_every_way(fit, size):
    frame = Frame(*size, fit)
    for photo in (_bars(30, 90), _bars(90, 30), _bars(1, 90), _bars(64, 48)):
        out = resize(photo, frame)
        assert (out.shape, out.dtype) == (frame.shape, np.uint8)


def test_pad_shows_the_whole_photo_between_neutral_bars():
    out = resize(_bars(30, 90), Frame(60, 60, "pad"))
    assert (out[:20] == (124, 116, 104)).all()
    assert (out[40:] == (124, 116, 104)).all()
    np.testing.assert_array_equal(out[20:40], resize(_bars(30, 90), Frame(20, 60)))


def test_crop_shows_the_middle_and_keeps_its_shape():
    out = resize(_bars(30, 90), Frame(60, 60, "crop"))
    np.testing.assert_array_equal(out, resize(_bars(30, 90)[:, 30:60], 60))
    assert (out == (0, 255, 0)).all(), "the middle third is green"


def test_a_frame_of_the_photos_own_shape_needs_no_fit():
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for fit in ("stretch", "pad", "crop"):
        np.testing.assert_array_equal(resize(photo, Frame(24, 32, fit)), resize(photo, Frame(24, 32)))


def test_stretched_squares_keep_their_key_and_others_name_shape_and_fit(make_root):
    table = load_dataset(make_root({"0": 2, "1": 2}), processes=1).train
    assert pixels_key(table, 32) == pixels_key(table, Frame(32, 32))
    assert pixels_key(table, 32)["size_px"] == 32
    assert "fit" not in pixels_key(table, Frame(24, 32))
    keys = [pixels_key(table, size) for size in (32, Frame(24, 32), Frame(32, 32, "pad"), Frame(32, 32, "crop"))]
    assert len({str(key) for key in keys}) == 4


def test_stored_and_decoded_rectangles_are_equal(make_root, tmp_path):
    table, frame = load_dataset(make_root({"0": 2, "1": 2}), processes=1).train, Frame(20, 36, "pad")
    stored = pixels(table, frame, Store(tmp_path / "store"), processes=1)
    assert stored.shape == (4, 20, 36, 3)
    for row, path in enumerate(table.paths):
        np.testing.assert_array_equal(stored[row], decode(table.root / path, frame))
