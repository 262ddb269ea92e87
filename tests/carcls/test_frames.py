import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.frames import Frame, frame_of, named_area, named_size, size_name, take_photos_alike

fits = st.sampled_from(["stretch", "pad", "crop"])
frames = st.builds(Frame, height=st.integers(1, 8192), width=st.integers(1, 8192), fit=fits)


@given(frames)
def test_a_size_is_read_back_from_its_name_and_fit(frame):
    assert frame_of(named_size(size_name(frame), frame.fit)) == frame
    assert frame_of(frame.size) == frame
    assert named_area(size_name(frame)) == frame.area


def test_only_a_stretched_square_is_a_bare_side():
    assert (Frame(224, 224).size, size_name(Frame(224, 224, "pad"))) == (224, 224)
    assert Frame(224, 224, "pad").size == Frame(224, 224, "pad")
    assert size_name(Frame(384, 512)) == str(Frame(384, 512)) == "384x512"
    assert Frame(300, 400, "crop").scaled(1.7067) == Frame(512, 683, "crop")


@pytest.mark.parametrize("wrong", [None, True, 0, -3, 1.5, "384", "384x", "384 x 512", "x512", [384, 512]])
def test_anything_else_is_no_size(wrong):
    assert named_size(wrong, "stretch") is None


@pytest.mark.parametrize(
    ("frames", "alike"),
    [
        ([Frame(224, 224), Frame(300, 400)], True),
        ([Frame(224, 224), Frame(224, 224, "pad")], False),
        ([Frame(300, 400, "pad"), Frame(225, 300, "pad"), Frame(113, 150, "pad")], True),
        ([Frame(300, 400, "crop"), Frame(224, 224, "crop")], False),
        ([Frame(192, 256, "crop"), Frame(288, 384, "pad")], False),
    ],
)
def test_photos_fitted_to_one_frame_may_be_resized_to_another_of_its_fit_and_shape(frames, alike):
    assert take_photos_alike(frames) == alike
