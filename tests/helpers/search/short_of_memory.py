"""A trial's process with little memory: like TensorFlow, it raises if a stage trains too many photos at once.

It is a module of its own because the fork server's children import their main function.
"""

from collections.abc import Mapping
from multiprocessing.connection import Connection

from search.worker.segment import Segment

Room = Mapping[tuple[int, int], int]
"""(stage, image size in px) -> the most photos that fit at once; no limit for other keys."""


def short_child(room: Room, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """Like `child_main`, with a `Learner` that runs out of memory in its first step."""
    from search.worker.child import run_training

    refuse_beyond(room)
    run_training(segment, messages, lifeline)


def refuse_beyond(room: Room) -> None:
    """Limits every later `Learner` of this process to that many photos."""
    import tensorflow as tf

    from carcls.training.learner import Learner

    enter_stage = Learner.enter_stage

    def entering(self, number, **settings):
        enter_stage(self, number, **settings)
        cut, size_px, train_epoch = settings.get("cut"), self._size_px, self.stage.train_epoch
        photos = self._config.batch_size if cut is None else cut.micro_batch

        def refusing(*arguments):
            if photos > room.get((number, size_px), photos):
                text = f"OOM when allocating tensor with shape[{photos},{size_px},{size_px},32] and type float"
                raise tf.errors.ResourceExhaustedError(None, None, text)
            return train_epoch(*arguments)

        self.stage.train_epoch = refusing

    Learner.enter_stage = entering
