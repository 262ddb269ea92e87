"""The table of sizes, from answers made by hand."""

import numpy as np
import pytest

from benchmarks.sizes import Answers, size_rows, takes


def answers(right: int) -> np.ndarray:
    """Of 20 photos of class 0 among two, the first `right` are told right, each with the same certainty."""
    said = np.full((20, 2), (0.2, 0.8), np.float32)
    said[:right] = (0.8, 0.2)
    return said


def test_gains_are_paired_with_the_trainings_own_size() -> None:
    by_size = {192: answers(12), 224: answers(16), 256: answers(18)}
    found = Answers("a", 224, by_size, np.zeros(20, np.int64), np.arange(20))
    rows = size_rows(found)
    assert [row[:4] for row in rows] == [("a", 20, 192, "0.600"), ("a", 20, 224, "0.800"), ("a", 20, 256, "0.900")]
    # Of 20 photos, 4 are wrong instead of right: sd of the differences 41.04, over the root of 20.
    assert [row[4] for row in rows] == ["-20.0 ± 9.2", "", "+10.0 ± 6.9"]
    # Scaled answers are right with the share that is right: -sum(share * log(share)).
    assert [row[5] for row in rows] == ["0.673", "0.500", "0.325"]
    assert [row[6].split(" ")[0] for row in rows] == ["-0.173", "", "+0.175"]


def test_photos_that_look_alike_count_as_one() -> None:
    by_size = {224: answers(16), 256: answers(18)}
    pairs = Answers("a", 224, by_size, np.zeros(20, np.int64), np.arange(20) // 2)
    alone = Answers("a", 224, by_size, np.zeros(20, np.int64), np.arange(20))
    assert size_rows(pairs)[1][4] == "+10.0 ± 10.0"
    assert size_rows(alone)[1][4] == "+10.0 ± 6.9"


@pytest.mark.parametrize(
    ("backbone", "size_px", "fits"),
    [
        ("MobileNetV2", 250, True),
        ("MobileNetV2", 31, False),
        ("ViTBase16", 224, True),
        ("ViTBase16", 256, False),
        ("SwinTiny", 250, False),
    ],
)
def test_weights_fit_other_sizes_unless_they_are_of_positions(backbone: str, size_px: int, fits: bool) -> None:
    assert takes(backbone, size_px, trained_px=224) is fits
