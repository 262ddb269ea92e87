"""`search.predict` on files, folders and arrays, with a model that tells red, green and blue apart."""

import cv2
import numpy as np
import pytest

import search
from tests.helpers.colour_model import write_colour_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_colour_model(tmp_path_factory.mktemp("model"))


def _image(*rgb: int) -> np.ndarray:
    return np.full((48, 64, 3), rgb, np.uint8)


def test_files_folders_and_arrays_have_a_row_each(model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), _image(0, 200, 0))
    cv2.imwrite(str(tmp_path / "2.png"), _image(200, 0, 0))  # OpenCV writes BGR: blue
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    found = search.predict(model, [folder, tmp_path / "2.png", str(tmp_path / "broken.jpg"), _image(200, 10, 10)])
    assert list(found.index) == [
        str(folder / "1.png"),
        str(tmp_path / "2.png"),
        str(tmp_path / "broken.jpg"),
        3,
    ]
    assert list(found["label"].fillna("")) == ["green", "blue", "", "red"]
    assert "broken.jpg" in found["error"].iloc[2]
    shares = found[["red", "green", "blue"]].iloc[[0, 1, 3]].to_numpy()
    assert shares.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert shares.max(axis=1) == pytest.approx(found["probability"].iloc[[0, 1, 3]].to_numpy(dtype=float))


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_another_form_of_image_is_refused(model, image):
    with pytest.raises(ValueError, match="expected an RGB image"):
        search.predict(model, [image])
