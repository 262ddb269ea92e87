"""One run's event files for TensorBoard: its curves, and its row in the HParams table.

The protos and the record format come from the tensorboard package, so TensorFlow is not imported. Each call opens the
file, appends its records and closes it, so paused trials hold no descriptors and reports are on disk when the call
returns.
"""

import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from carcls.events import EpochReport
from carcls.frames import named_area
from carcls.system.atomic import naming_full_disk
from search.progress.event_protos import hparams_summary, scalar_summary, set_hparam
from search.progress.gpu_lines import gpu_scalars

BEST_ACCURACY = "best/validation_accuracy"
"""HParams metric: accuracy of the trial's best epoch. `validation/accuracy` is that of its last epoch."""

BEST_LOG_LOSS = "best/validation_log_loss"
"""Log-loss of that best epoch."""

_ACCURACY = "validation/accuracy"
_FILES = "events.out.tfevents."
_NOTHING_EXPIRES = 2**40
"""Step of a restart that drops nothing."""
_PNG_START = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class WrittenEvents:
    """Content of a run's event files."""

    started: bool
    ended: bool
    epochs: frozenset[int]
    """Without rolled-back epochs, unless they were written again."""
    fallbacks: int = 0
    """How many times epochs were rolled back."""


def read_events(folder: Path) -> WrittenEvents:
    """Content of all event files of one run, without truncated records of a killed writer."""
    names: set[str] = set()
    epochs: set[int] = set()
    fallbacks = 0
    for event in _events(folder):
        if event.session_log.status == event_pb2.SessionLog.START and event.step != _NOTHING_EXPIRES:
            fallbacks += 1
            epochs = {epoch for epoch in epochs if epoch < event.step}
        tags = {value.tag for value in event.summary.value}
        names |= tags
        epochs |= {event.step} if _ACCURACY in tags else set()
    return WrittenEvents(
        started=metadata.SESSION_START_INFO_TAG in names,
        ended=metadata.SESSION_END_INFO_TAG in names,
        epochs=frozenset(epochs),
        fallbacks=fallbacks,
    )


def delete_events(folder: Path) -> None:
    """Deletes the event files of one run, if there are any. Raises OSError."""
    for path in folder.glob(f"{_FILES}*"):
        path.unlink()


def epoch_times(folder: Path) -> dict[int, float]:
    """Unix time in seconds at which each epoch of one run was written; of an epoch written twice, the last."""
    return {
        event.step: event.wall_time
        for event in _events(folder)
        if any(value.tag == _ACCURACY for value in event.summary.value)
    }


def _events(folder: Path) -> Iterator[event_pb2.Event]:
    """Events in TensorBoard's reading order, which is the writing order."""
    for path in sorted(folder.glob(f"{_FILES}*")):
        yield from map(event_pb2.Event.FromString, _whole_records(path.read_bytes()))


def _whole_records(content: bytes) -> Iterator[bytes]:
    """TFRecord framing: length (8 bytes), its checksum (4), data, its checksum (4)."""
    at = 0
    while at + 16 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


class EventLog:
    """Event files of one run in one folder; one file per driver process, so a resumed run opens a new one.

    Not thread-safe. Every method raises OSError if the folder is not writable. The caller must not write an epoch
    twice unless it was rolled back.
    """

    def __init__(self, folder: Path, *, clock_s: Callable[[], float] = time.time) -> None:
        """clock_s: Unix time in seconds, which every event carries."""
        self._folder = folder
        self._clock_s = clock_s
        self._path: Path | None = None
        self._described: set[str] = set()
        """Tags of the current file whose metadata it holds."""

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Adds the run to the HParams table as `name`; a second call in the same folder has no effect there."""
        info = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=self._clock_s())
        for key, value in params.items():
            set_hparam(info.hparams[key], value)
        self._append_summary(hparams_summary(metadata.SESSION_START_INFO_TAG, session_start_info=info))

    def epoch(self, report: EpochReport) -> None:
        """Adds one point to each curve, at global step `report.epoch`."""
        self.scalars(epoch_scalars(report), step=report.epoch)

    def best(self, report: EpochReport) -> None:
        """Writes the best epoch's metrics for the HParams table; a later call replaces them."""
        self.scalars({BEST_ACCURACY: report.val_accuracy, BEST_LOG_LOSS: report.val_log_loss}, step=report.epoch)

    def scalars(self, values: Mapping[str, float], *, step: int, time_s: float | None = None) -> None:
        """Adds one point to each curve. time_s: Unix time in seconds instead of now."""
        self._append_summary(scalar_summary(values, described=self._described), step=step, time_s=time_s)
        self._described |= values.keys()  # after the append, which may have failed

    def image(self, tag: str, png: bytes, *, step: int = 0) -> None:
        """Adds a picture. Raises ValueError if `png` is no PNG file."""
        if png[:8] != _PNG_START:
            raise ValueError(f"{tag}: expected a PNG file, found {png[:8]!r}")
        width, height = struct.unpack(">II", png[16:24])
        picture = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._append_summary(summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, image=picture)]), step=step)

    def roll_back(self, epoch: int) -> None:
        """Hides all epochs after `epoch`; 0 hides them all.

        Writes the event that makes TensorBoard drop this and later steps, as after a restart from an earlier
        checkpoint. The row of the HParams table, at step 0, stays. TensorBoard takes a run's first such event for its
        start, so one that drops nothing comes before.
        """
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        for step in (_NOTHING_EXPIRES, epoch + 1):
            self._append(event_pb2.Event(step=step, session_log=start))

    def end(self, best: EpochReport | None, *, failed: bool) -> None:
        """Writes the metrics of the best epoch, if any, and how the run ended."""
        if best is not None:
            self.best(best)
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=self._clock_s())
        self._append_summary(hparams_summary(metadata.SESSION_END_INFO_TAG, session_end_info=info))

    def _append_summary(self, summary: summary_pb2.Summary, step: int = 0, time_s: float | None = None) -> None:
        self._append(event_pb2.Event(step=step, summary=summary), time_s)

    def _append(self, event: event_pb2.Event, time_s: float | None = None) -> None:
        event.wall_time = self._clock_s() if time_s is None else time_s
        if self._path is None:
            self._path = self._new_file()
        _append(self._path, event)

    def _new_file(self) -> Path:
        """TensorBoard reads a run's files in name order; nanoseconds keep quick restarts in order."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = f"{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
        path = self._folder / f"{_FILES}{stamp}"
        header = event_pb2.Event(wall_time=self._clock_s(), file_version="brain.Event:2")
        path.touch(exist_ok=False)
        _append(path, header)
        return path


def _append(path: Path, event: event_pb2.Event) -> None:
    """Appends a whole record or nothing: TensorBoard stops reading at a truncated record."""
    before = path.stat().st_size
    with naming_full_disk(path):
        try:
            with path.open("ab") as file:
                RecordWriter(file).write(event.SerializeToString())
        except OSError:
            os.truncate(path, before)
            raise


def epoch_scalars(report: EpochReport) -> dict[str, float]:
    """Scalars of one epoch by tag. Times in seconds, image size as the side of an equally large square in px, stages
    counted from 0. Pure."""
    return {
        "train/loss": report.train_loss,
        "train/accuracy": report.train_accuracy,
        "validation/log_loss": report.val_log_loss,
        _ACCURACY: report.val_accuracy,
        "validation/macro_f1": report.val_macro_f1,
        "learning_rate": report.learning_rate,
        "images_per_s": report.images_per_s,
        "image_size": math.sqrt(named_area(report.image_size)),
        "stage": report.stage,
        "time/train_s": report.seconds.train,
        "time/validate_s": report.seconds.validate,
        "time/build_s": report.seconds.build,
        "time/trace_s": report.seconds.trace,
        "time/store_s": report.seconds.store,
        "time/data_wait_s": report.seconds.data_wait,
        "store/reused": report.store.reused,
        **gpu_scalars(report),
    }
