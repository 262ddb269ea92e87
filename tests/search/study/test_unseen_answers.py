"""What final models say of photos that none has seen, as a file."""

from pathlib import Path

import numpy as np
import pytest

from search.study.unseen_answers import UnseenAnswers

SAID = np.full((2, 3, 4), 0.25, np.float32)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "unseen.npz"
    UnseenAnswers(("1", "2", "10"), ("plain", "flip"), SAID).write(path)
    found = UnseenAnswers.read(path)
    assert found is not None
    assert (found.ids, found.views) == (("1", "2", "10"), ("plain", "flip"))
    assert np.array_equal(found.said, SAID)


@pytest.mark.parametrize(
    "said",
    [SAID[0], SAID[:0], SAID[:, :2], np.full_like(SAID, np.nan), SAID.astype(str)],
    ids=["flat", "none", "fewer", "nan", "text"],
)
def test_answers_that_cannot_be_are_none(tmp_path: Path, said: np.ndarray) -> None:
    path = tmp_path / "unseen.npz"
    UnseenAnswers(("1", "2", "3"), ("plain",), said).write(path)
    assert UnseenAnswers.read(path) is None


def test_a_missing_or_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "unseen.npz"
    assert UnseenAnswers.read(path) is None
    UnseenAnswers(("1", "2", "3"), ("plain",), SAID).write(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"text", whole.replace(b"said", b"sais")):
        path.write_bytes(damaged)
        assert UnseenAnswers.read(path) is None
