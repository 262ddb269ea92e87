"""The table of final trainings on the same folds, from scores made by hand."""

from pathlib import Path

import pytest

from benchmarks.accuracy.result import Judged
from benchmarks.out_of_fold import compared, final_folder


def scored(hits: tuple[int, ...], losses: tuple[float, ...], ids: tuple[str, ...] = ("a", "b", "c", "d")) -> Judged:
    return Judged(ids, ids, hits, losses, losses)


def test_gains_are_over_the_first_and_positive_is_better() -> None:
    base, better = scored((1, 0, 0, 1), (0.5, 1.0, 1.5, 0.5)), scored((1, 1, 0, 1), (0.4, 0.6, 1.5, 0.5))
    first, second = compared({"base": base, "better": better})
    assert first == ("base", "0.5000", "", "0.8750", "")
    assert second == ("better", "0.7500", "+25.00 ± 25.00", "0.7500", "+0.125 ± 0.095")


def test_other_photos_cannot_be_compared() -> None:
    base = scored((1, 0), (0.5, 1.0), ("a", "b"))
    with pytest.raises(ValueError, match="different photos"):
        list(compared({"base": base, "other": scored((1, 0), (0.5, 1.0), ("a", "c"))}))


def test_a_folder_beside_the_studys_own_training_is_one_of_that_study() -> None:
    assert final_folder(Path("results/cars")).out_of_fold == Path("results/cars/retrain/out_of_fold.npz")
    assert final_folder(Path("results/cars/retrain-0003")).out_of_fold == Path(
        "results/cars/retrain-0003/out_of_fold.npz"
    )
