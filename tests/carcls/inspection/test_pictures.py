"""Pictures are PNG files of the expected size; hostile names do no harm."""

import struct

import cv2
import numpy as np

from carcls.inspection.pictures import augmented_png, confusion_png, photos_png, reliability_png
from carcls.scoring.diagnosis import reliability


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_grids_have_a_cell_for_each_photo_and_show_it(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((50, 80, 3), (0, 0, 255), np.uint8))
    png = photos_png([(tmp_path / "red.png", "$x$ as \x00"), (tmp_path / "absent.png", "b")] * 4)
    assert size(png) == (6 * 102 + 6, 2 * 114 + 6)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image[18 + 48, 6 + 48].tolist() == [0, 0, 255]
    assert image[18 + 64, 6 + 102 + 64].tolist() == [230, 230, 230], "a grey cell for an unreadable one"


def test_views_stand_beside_their_photo(tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 255, (60, 60, 3), dtype=np.uint8))
    png = augmented_png("medium", [tmp_path / "a.png", tmp_path / "absent.png"], views=3, seed=0)
    assert size(png) == (4 * 102 + 6, 114 + 6)
    assert png == augmented_png("medium", [tmp_path / "a.png"], views=3, seed=0)
    assert png != augmented_png("medium", [tmp_path / "a.png"], views=3, seed=1)


def test_matrix_and_reliability_are_drawn():
    assert size(confusion_png(np.diag([3, 4]), ["$a$", "b\n"]))[0] == 400
    assert size(confusion_png(np.eye(60, dtype=np.int64), [str(n) for n in range(60)]))[0] == 1200
    assert size(reliability_png(reliability(np.eye(3), np.arange(3)))) == (500, 440)
