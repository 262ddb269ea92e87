"""A trial's process on a device with little room: it refuses more photos at once than a stage may have, as TensorFlow
does. A module of its own, for the fork server's children find their main function in one."""

from collections.abc import Mapping
from multiprocessing.connection import Connection

from search.worker.segment import Segment

Room = Mapping[tuple[int, int], int]
"""(stage, image size in px) -> photos that have room at once; what is not there has room for all."""


def short_child(room: Room, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """`child_main` with a `Learner` that runs out of memory in its first step."""
    from search.worker.child import run_training

    refuse_beyond(room)
    run_training(segment, messages, lifeline)


def refuse_beyond(room: Room) -> None:
    """From now on, in this process, a `Learner` has no more room than that."""
    import tensorflow as tf

    from carcls.training.learner import Learner

    train_epoch = Learner.train_epoch

    def refusing(self, batches, log_losses):
        stage = [one.name for one in self._config.stages].index(self._stage.name)
        photos = self._config.batch_size if self._cut is None else self._cut.micro_batch
        if photos > room.get((stage, self._size_px), photos):
            text = f"OOM when allocating tensor with shape[{photos},{self._size_px},{self._size_px},32] and type float"
            raise tf.errors.ResourceExhaustedError(None, None, text)
        return train_epoch(self, batches, log_losses)

    Learner.train_epoch = refusing
