"""A child whose machine leaves is told, and ends as preempted."""

import contextlib
from pathlib import Path

from carcls.errors import HandedOverError
from search.worker.child import _outcome_on_cluster, outcome_of
from search.worker.segment import Outcome, Segment
from search.worker.supervisor import segment_messages
from tests.helpers.search.counting_child import SAVED, waiting_child


def test_a_silent_child_learns_that_it_should_move_on(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    stage = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3}
    config = {"backbone": "MobileNet", "image_size": 32, "batch_size": 8, "stages": [stage]}
    segment = Segment(str(tmp_path), 0, 0, config, None, 0, str(tmp_path), 0, {}, 1, None, True)
    asked = []

    def is_leaving() -> bool:
        asked.append(True)
        return len(asked) > 2

    with contextlib.closing(segment_messages(segment, waiting_child, is_leaving=is_leaving)) as messages:
        assert list(messages) == [Outcome("preempted", SAVED)]
    assert len(asked) == 3, "it is told once"


def test_handing_over_is_no_failure_of_the_trial() -> None:
    assert outcome_of(HandedOverError("saved")) == Outcome("preempted", "saved")
    assert _outcome_on_cluster(HandedOverError("saved")) == Outcome("preempted", "saved")
