"""No child runs ahead of the driver."""

import contextlib
import time
from pathlib import Path

from carcls.events import EpochReport
from search.worker.segment import Outcome, Segment
from search.worker.supervisor import segment_messages
from tests.helpers.search.counting_child import EPOCHS, counting_child, note

LONG_S = 0.5
"""A slow driver; a child that did not wait would begin its next epoch a thousand times sooner."""


def test_an_epoch_that_is_not_recorded_stops_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    stage = {"name": "head", "unfreeze": 0.0, "epochs": EPOCHS, "learning_rate": 1e-3}
    config = {"backbone": "MobileNet", "image_size": 32, "batch_size": 8, "stages": [stage]}
    segment = Segment(str(tmp_path), 0, 0, config, None, 0, str(tmp_path), 0, {}, 1, None, True)
    ends = []
    with contextlib.closing(segment_messages(segment, counting_child)) as messages:
        for message in messages:
            if isinstance(message, EpochReport):
                time.sleep(LONG_S)
                note(tmp_path, f"recorded {message.epoch}")
            else:
                ends.append(message)
    assert [end.kind for end in ends if isinstance(end, Outcome)] == ["ended"]
    lines = (tmp_path / "order.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert lines == [f"{what} {epoch}" for epoch in range(1, EPOCHS + 1) for what in ("begins", "recorded")]
