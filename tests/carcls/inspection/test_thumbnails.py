"""Thumbnails are whole, small, and new."""

import cv2
import numpy as np

from carcls.inspection.thumbnails import thumbnail


def written(path, height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (0, 0, 255)  # OpenCV writes BGR: the left half is red
    cv2.imwrite(str(path), pixels)
    return path


def test_the_longer_side_is_cut_to_size_and_colours_stay(tmp_path):
    small = cv2.imdecode(
        np.frombuffer(thumbnail(written(tmp_path / "a.png", 300, 600), side_px=144), np.uint8), cv2.IMREAD_COLOR
    )
    assert small.shape == (72, 144, 3)
    blue, _, red = small[36, 20].tolist()
    assert red > 230
    assert blue < 25


def test_small_photos_are_not_enlarged(tmp_path):
    small = cv2.imdecode(np.frombuffer(thumbnail(written(tmp_path / "a.png", 20, 30), side_px=144), np.uint8), 1)
    assert small.shape == (20, 30, 3)


def test_nothing_of_the_file_but_its_pixels_is_kept(tmp_path):
    path = written(tmp_path / "a.jpg", 60, 80)
    content = path.read_bytes()
    comment = b"\xff\xfe\x00\x0dsecret GPS!"
    path.write_bytes(content[:2] + comment + content[2:])
    assert b"secret" in path.read_bytes()
    assert b"secret" not in thumbnail(path, side_px=144)


def test_what_is_no_photo_has_none(tmp_path):
    (tmp_path / "a.jpg").write_text("no photo")
    assert thumbnail(tmp_path / "a.jpg", side_px=144) is None
    assert thumbnail(tmp_path / "absent.jpg", side_px=144) is None
