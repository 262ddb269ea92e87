import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carcls.errors import ConfigError
from carcls.inference.tta import (
    PLAIN,
    VIEWS,
    average,
    check_views,
    predict_view,
)

SIDES = st.sampled_from([32, 33, 48])
BATCHES = st.tuples(st.integers(1, 3), SIDES, SIDES, st.just(3)).flatmap(lambda shape: hnp.arrays(np.uint8, shape))
CORNERS = {
    "crop_top_left": (slice(None, -10), slice(None, -8)),
    "crop_top_right": (slice(None, -10), slice(8, None)),
    "crop_bottom_left": (slice(10, None), slice(None, -8)),
    "crop_bottom_right": (slice(10, None), slice(8, None)),
    "crop_centre": (slice(5, -5), slice(4, -4)),
}
"""What each crop shows of a photo 80 px high and 64 px wide."""


class RowMeans:
    """Two 'classes': brightness of the left and of the right half. Remembers the shapes it was asked for."""

    output_shape = (None, 2)

    def __init__(self):
        self.shapes = []

    def predict_on_batch(self, pixels):
        self.shapes.append(pixels.shape)
        half = pixels.shape[2] // 2
        left, right = pixels[:, :, :half].mean((1, 2, 3)), pixels[:, :, half:].mean((1, 2, 3))
        return np.stack([left, right], axis=1)


@settings(max_examples=10, deadline=None)
@given(BATCHES)
def test_every_view_keeps_shape_and_dtype_and_leaves_its_argument(pixels):
    before = pixels.copy()
    pixels.setflags(write=False)
    for name, view in VIEWS.items():
        seen = view(pixels)
        assert (seen.shape, seen.dtype) == (pixels.shape, np.uint8), name
    np.testing.assert_array_equal(pixels, before)


@settings(max_examples=10, deadline=None)
@given(BATCHES)
def test_a_view_of_one_photo_does_not_depend_on_its_batch(pixels):
    for name, view in VIEWS.items():
        alone = np.concatenate([view(pixels[i : i + 1]) for i in range(len(pixels))])
        np.testing.assert_array_equal(view(pixels), alone, err_msg=name)


@settings(max_examples=10, deadline=None)
@given(BATCHES)
def test_flip_twice_is_the_photo_and_a_flip_swaps_the_shifts(pixels):
    flip, left, right = VIEWS["flip"], VIEWS["shift_left"], VIEWS["shift_right"]
    np.testing.assert_array_equal(flip(flip(pixels)), pixels)
    np.testing.assert_array_equal(flip(left(pixels)), right(flip(pixels)))


def test_views_at_known_pixels():
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, None, :, None], (1, 40, 40, 3))  # offset 2, margin 2
    assert VIEWS["shift_left"](ramp)[0, 0, [0, 37, 38, 39], 0].tolist() == [2, 39, 38, 37]
    assert VIEWS["shift_right"](ramp)[0, 0, [0, 1, 2, 39], 0].tolist() == [2, 1, 0, 37]
    assert VIEWS["zoom"](ramp)[0, 0, [0, 39], 0].tolist() == [2, 37]
    assert VIEWS["zoom_flip"](ramp)[0, 0, [0, 39], 0].tolist() == [37, 2]
    grey = np.full((1, 32, 32, 3), 100, np.uint8)
    assert (VIEWS["brighter"](grey) == 115).all()
    assert (VIEWS["darker"](grey) == 87).all()
    assert (VIEWS["brighter"](np.full((1, 32, 32, 3), 250, np.uint8)) == 255).all()


@settings(max_examples=10, deadline=None)
@given(BATCHES)
def test_plain_is_the_photo_itself_and_flipped_views_are_the_mirror_images_of_their_views(pixels):
    assert VIEWS[PLAIN](pixels) is pixels
    flipped = [name for name in VIEWS if name.endswith("_flip")]
    assert len(flipped) == 8
    for name in flipped:
        np.testing.assert_array_equal(VIEWS[name](pixels), VIEWS[name.removesuffix("_flip")](pixels)[:, :, ::-1])


@settings(max_examples=10, deadline=None)
@given(BATCHES)
def test_a_flipped_crop_is_the_opposite_crop_of_the_flipped_photo(pixels):
    flip = VIEWS["flip"]
    for row in ("top", "bottom"):
        left, right = VIEWS[f"crop_{row}_left"], VIEWS[f"crop_{row}_right"]
        np.testing.assert_array_equal(flip(left(pixels)), right(flip(pixels)))
        np.testing.assert_array_equal(VIEWS[f"crop_{row}_right_flip"](pixels), left(flip(pixels)))
    for name in ("crop_centre", "zoom_more", "zoom_out"):  # OpenCV rounds an exact half to one side
        mirrored = VIEWS[name](flip(pixels)).astype(int)
        np.testing.assert_allclose(flip(VIEWS[name](pixels)).astype(int), mirrored, atol=1, err_msg=name)


@pytest.mark.parametrize("name", CORNERS)
def test_a_crop_shows_its_part_of_a_rectangle_and_nothing_else(rng, name):
    rows, columns = CORNERS[name]
    photo = rng.integers(0, 256, (80, 64, 3), dtype=np.uint8)
    seen = VIEWS[name](photo[None])
    expected = cv2.resize(np.ascontiguousarray(photo[rows, columns]), (64, 80), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(seen[0].astype(int), expected.astype(int), atol=1)
    outside = photo.copy()
    outside[rows, columns] = 0
    np.testing.assert_array_equal(VIEWS[name](outside[None]), 0)


def test_scales_show_a_part_or_the_whole_photo_within_its_reflection():
    ramp = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, None, :, None], (1, 40, 60, 3))
    assert VIEWS["zoom_more"](ramp)[0, 0, [0, 59], 0].tolist() == [6, 53]
    out = VIEWS["zoom_out"](ramp)[0, :, :, 0].astype(int)  # margins 2 and 3
    np.testing.assert_allclose(out, np.broadcast_to(out[20], out.shape), atol=1)  # rounding differs by row
    np.testing.assert_allclose(out[0, 3:57], (np.arange(54) + 0.5) * 60 / 54 - 0.5, atol=1)
    assert out[0, :3].tolist() == out[0, [6, 5, 4]].tolist()
    assert out[0, 57:].tolist() == out[0, [55, 54, 53]].tolist()


def test_no_view_turns_a_photo_upside_down_or_on_its_side():
    sky_above_road = np.zeros((1, 32, 32, 3), np.uint8)
    sky_above_road[:, :16] = 200
    for name, view in VIEWS.items():
        seen = view(sky_above_road)
        # The horizon at 16 moves to 13.7 in the bottom crops and to 18.3 in the top ones.
        above, below = (13, 19) if name.startswith(("crop_top", "crop_bottom")) else (14, 18)
        assert seen[0, :above].min() > seen[0, below:].max(), name


def test_predict_view_reads_a_read_only_map_in_slices_of_one_shape(tmp_path, rng):
    photos = rng.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", photos)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    model = RowMeans()
    flipped = predict_view(model, mapped, "flip", batch_size=3)
    assert model.shapes == [(3, 32, 32, 3)] * 3
    assert flipped.dtype == np.float32
    np.testing.assert_allclose(flipped, RowMeans().predict_on_batch(photos)[:, ::-1], rtol=1e-6)


def test_predict_view_of_few_or_no_photos(rng):
    model = RowMeans()
    photos = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert predict_view(model, photos, PLAIN, batch_size=64).shape == (2, 2)
    assert model.shapes == [(2, 32, 32, 3)]
    assert predict_view(model, photos[:0], PLAIN, batch_size=64).shape == (0, 2)


def test_an_unknown_view_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown view 'flipp'; did you mean 'flip'"):
        predict_view(RowMeans(), np.zeros((1, 32, 32, 3), np.uint8), "flipp", batch_size=1)
    with pytest.raises(ConfigError, match="no view named"):
        check_views([])


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(0, 1, width=32)), st.integers(1, 8))
def test_average_of_equal_views_is_that_view_to_the_bit(probabilities, count):
    names = [f"view{i}" for i in range(count)]
    np.testing.assert_array_equal(average(dict.fromkeys(names, probabilities), names), probabilities)


def test_average_is_the_mean():
    by_view = {"a": np.array([[1.0, 0.0]], np.float32), "b": np.array([[0.5, 0.5]], np.float32)}
    averaged = average(by_view, ("a", "b"))
    assert averaged.dtype == np.float32
    assert averaged.tolist() == [[0.75, 0.25]]


def test_tta_of_a_flip_invariant_model_is_its_plain_prediction(rng):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(pooled))
    photos = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    by_view = {view: predict_view(model, photos, view, batch_size=2) for view in (PLAIN, "flip", "brighter")}
    np.testing.assert_allclose(average(by_view, (PLAIN, "flip")), by_view[PLAIN], atol=1e-6)
    assert np.abs(by_view["brighter"] - by_view[PLAIN]).max() > 1e-4, "the model must see something"
