"""What the benchmark of further final trainings averages, and how it scores."""

import numpy as np
import pytest

from benchmarks.runners_up import Configuration, _choices, compared

LABELS = np.array([0, 1, 0, 1])


def configuration(backbone: str, rank: float, *right: bool) -> Configuration:
    sure = np.where(right, 0.9, 0.1) if right else np.full(4, 0.5)
    answer = np.empty((4, 2))
    answer[np.arange(4), LABELS], answer[np.arange(4), 1 - LABELS] = sure, 1 - sure
    return Configuration(backbone, ((rank,), (-rank,), (rank,)), answer)


def test_the_winner_is_averaged_with_the_next_of_each_kind() -> None:
    a, b, c, d, e = (configuration(name, rank) for name, rank in zip("xxyzy", (5, 4, 3, 2, 1), strict=True))
    found = _choices([d, c, e, b, a], 0)
    assert found["the winner"] == [a]
    assert found["and the next of its backbone"] == [a, b]
    assert found["and the best of another backbone"] == [a, c]
    assert found["and the best of two others"] == [a, c, d]
    assert found["and the next two of any"] == [a, b, c]
    assert _choices([d, c, e, b, a], 1)["and the best of two others"] == [e, d, b], "by another fold's photos"
    assert _choices([a, b], 0)["and the best of another backbone"] == [a]


def test_averages_are_scored_on_the_holdout() -> None:
    first, second = configuration("x", 2, True, True, True, False), configuration("y", 1, True, True, True, True)
    found = compared([first, second], LABELS, draws=20, seed=0)
    assert found["the winner"][0] == pytest.approx(np.mean([0.75, 1.0]), abs=0.15), "either wins, by the fold"
    assert found["and the next of its backbone"] == found["the winner"]
    accuracy, log_loss = found["and the best of another backbone"]
    assert accuracy in (0.75, 1.0), "always the mean of both"
    assert log_loss < found["the winner"][1] or accuracy == 1.0
    assert compared([first, second], LABELS, draws=20, seed=0) == found
