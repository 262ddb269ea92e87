"""Blurred, dark and bright photos are found, and ordinary ones are not."""

import cv2
import numpy as np
import pytest

from carcls.inspection.quality import Quality, measure, outliers


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    plain = rng.integers(60, 200, (200, 300, 3), dtype=np.uint8)
    written = {
        **{f"plain{n}.png": np.roll(plain, n, axis=0) for n in range(5)},
        "blurred.png": cv2.GaussianBlur(plain, (0, 0), 6),
        "dark.png": (plain // 8).astype(np.uint8),
        "bright.png": np.clip(plain.astype(int) + 120, 0, 255).astype(np.uint8),
    }
    for name, pixels in written.items():
        cv2.imwrite(str(tmp_path / name), pixels)
    (tmp_path / "broken.jpg").write_text("no photo")
    return tmp_path, [*written, "broken.jpg"]


def test_odd_photos_are_found(photos):
    root, paths = photos
    measured = measure(root, paths, threads=2)
    assert [one.path for one in measured] == paths[:-1], "in order, without the unreadable one"
    found = outliers(measured)
    assert "blurred.png" in [one.path for one in found.blurred]
    assert [one.path for one in found.dark] == ["dark.png"]
    assert [one.path for one in found.bright] == ["bright.png"]
    assert not [one for one in found.blurred if one.path.startswith("plain")]


def test_the_most_extreme_come_first():
    measured = [Quality(str(n), sharpness, 100.0) for n, sharpness in enumerate([100.0, 90.0, 5.0, 2.0, 110.0])]
    assert [one.path for one in outliers(measured).blurred] == ["3", "2"]
    assert outliers([]).blurred == ()
