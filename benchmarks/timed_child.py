"""Our trial's child with a clock in it: the fork server imports this in place of `search.worker.child`.

`keras.Model.fit` gets one more callback; everything else is what a search runs.
"""

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import keras

from benchmarks.events import EVENTS, EventLog
from benchmarks.step_clock import StepClock
from search.worker import child
from search.worker.segment import Segment

_run_training = child.run_training
_fit = keras.Model.fit


def _timed_run(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    log = EventLog(Path(segment.study) / EVENTS)
    log.note(segment.number, "forked")

    def fit(self: keras.Model, *args: Any, callbacks: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401 - Keras's own
        clock = StepClock(log, segment.number)
        return _fit(self, *args, callbacks=[*(callbacks or ()), clock], **kwargs)

    keras.Model.fit = fit
    _run_training(segment, messages, lifeline)


child.run_training = _timed_run
