"""Event files for TensorBoard: a trial's curves, and its row in the HParams table. Written by the driver only.

The protos and the record format come from the tensorboard package itself, so nothing here imports TensorFlow. No file
stays open: each call appends its records and closes, a search with any number of paused trials holds no descriptor, and
what was reported is on disk when the call returns.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from carcls.events import EpochReport
from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder

BEST_ACCURACY = "best/validation_accuracy"
"""The HParams metric of an ended trial: its best epoch. `validation/accuracy` is the other: the trial's last epoch."""

BEST_LOG_LOSS = "best/validation_log_loss"
"""Log-loss of that same best epoch."""

_ACCURACY = "validation/accuracy"
_FILES = "events.out.tfevents."
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, slots=True)
class Written:
    """What a run's event files hold."""

    started: bool
    ended: bool
    epochs: frozenset[int]
    """Those that stand: not those that were taken back, unless they came again."""
    fallbacks: int = 0
    """How many times epochs were taken back."""


def read_events(folder: Path) -> Written:
    """Of all event files of one run; what a killed writer left torn is not there."""
    names: set[str] = set()
    epochs: set[int] = set()
    fallbacks = 0
    for event in _events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            fallbacks += 1
            epochs = {epoch for epoch in epochs if epoch < event.step}
        tags = {value.tag for value in event.summary.value}
        names |= tags
        epochs |= {event.step} if _ACCURACY in tags else set()
    return Written(
        started=metadata.SESSION_START_INFO_TAG in names,
        ended=metadata.SESSION_END_INFO_TAG in names,
        epochs=frozenset(epochs),
        fallbacks=fallbacks,
    )


def _events(folder: Path) -> Iterator[event_pb2.Event]:
    """In the order in which TensorBoard reads them, which is that in which they were written."""
    for path in sorted(folder.glob(f"{_FILES}*")):
        yield from map(event_pb2.Event.FromString, _whole_records(path.read_bytes()))


def _whole_records(content: bytes) -> Iterator[bytes]:
    """TFRecord's frame: length (8 bytes), its checksum (4), data, its checksum (4)."""
    at = 0
    while at + 16 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


class EventLog:
    """Event files of one run in one folder; one file per driver process, so a resumed run opens a new one.

    Not thread-safe: the driver's one thread calls. Every method raises OSError where the folder cannot be written.
    Epochs are written as they come; that none comes twice, unless it was taken back, is the caller's promise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Enter the run in the HParams table as `name`; a second call in the same folder changes nothing there."""
        info = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=time.time())
        for key, value in params.items():
            _set_hparam(info.hparams[key], value)
        self._append_summary(_hparams_summary(metadata.SESSION_START_INFO_TAG, session_start_info=info))

    def epoch(self, report: EpochReport) -> None:
        """One point on each curve, at global step `report.epoch`."""
        self._append_summary(_scalar_summary(epoch_scalars(report)), step=report.epoch)

    def best(self, report: EpochReport) -> None:
        """The metrics that the HParams table shows beside the last epoch's; a better epoch may replace them."""
        self._append_summary(
            _scalar_summary({BEST_ACCURACY: report.val_accuracy, BEST_LOG_LOSS: report.val_log_loss}),
            step=report.epoch,
        )

    def take_back(self, epoch: int) -> None:
        """The curves end after that epoch, 0 for before the first; what was written of later ones is shown no more.

        By the event at which TensorBoard drops what it has read of that step and later ones, as of a training that
        was started again from an earlier checkpoint. The HParams table's row, at step 0, stays.
        """
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._append(event_pb2.Event(step=epoch + 1, session_log=start))

    def end(self, best: EpochReport | None, *, failed: bool) -> None:
        """The metrics of the best epoch, where there was one, and how the run ended."""
        if best is not None:
            self.best(best)
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._append_summary(_hparams_summary(metadata.SESSION_END_INFO_TAG, session_end_info=info))

    def _append_summary(self, summary: summary_pb2.Summary, step: int = 0) -> None:
        self._append(event_pb2.Event(step=step, summary=summary))

    def _append(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        if self._path is None:
            self._path = self._new_file()
        _append(self._path, event)

    def _new_file(self) -> Path:
        """TensorBoard reads a run's files in the order of their names: nanoseconds keep quick restarts in order."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = f"{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
        path = self._folder / f"{_FILES}{stamp}"
        header = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
        path.touch(exist_ok=False)
        _append(path, header)
        return path


def _append(path: Path, event: event_pb2.Event) -> None:
    """One whole record, or none: behind half of one, TensorBoard would read nothing any more."""
    before = path.stat().st_size
    try:
        with path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())
    except OSError:
        os.truncate(path, before)
        raise


class TensorBoardWriter:
    """The event files of a study: one run per trial, under `<results_folder>/trials/<nnnn>/`."""

    def __init__(self, results_folder: Path, *, prefix: str = "") -> None:
        """prefix: of each trial's name in the HParams table, which holds those of several studies in one folder."""
        self._folder = StudyFolder(results_folder)
        self._prefix = prefix
        self._logs: dict[int, EventLog] = {}

    def trial_started(self, number: int, params: Mapping[str, object]) -> None:
        """The trial's row in the HParams table; for a continued trial it may be called again."""
        self._log(number).start(f"{self._prefix}{number:04d}", params)

    def epoch(self, number: int, report: EpochReport) -> None:
        """One point on each of the trial's curves."""
        self._log(number).epoch(report)

    def trial_ended(self, record: TrialRecord) -> None:
        """The trial's metrics and, unless it is only paused, its end: TensorBoard keeps the first it is told."""
        log = self._log(record.number)
        if record.state in _ENDED:
            log.end(record.best, failed=record.state is TrialState.FAIL)
        elif record.best:
            log.best(record.best)

    def catch_up(self, record: TrialRecord) -> None:
        """Writes what the study holds of a trial and its event files do not.

        That is what a killed driver came not to write, and that epochs were taken back since checkpoints were lost.
        """
        if not record.attempts:
            return
        written = read_events(self._folder.trial(record.number))
        if not written.started:
            self.trial_started(record.number, record.params)
        if untold := record.fallbacks[written.fallbacks :]:
            for epoch in untold:
                self._log(record.number).take_back(epoch)
            written = read_events(self._folder.trial(record.number))
        for report in record.reports:
            if report.epoch not in written.epochs:
                self.epoch(record.number, report)
        if record.state in _ENDED and not written.ended:
            self.trial_ended(record)

    def close(self) -> None:
        """Forget the files of this process; later calls open new ones. Nothing is left to flush."""
        self._logs.clear()

    def _log(self, number: int) -> EventLog:
        return self._logs.setdefault(number, EventLog(self._folder.trial(number)))


def epoch_scalars(report: EpochReport) -> dict[str, float]:
    """Tag to value: what TensorBoard plots of one epoch. Times in seconds, image size in px, stages from 0; pure."""
    return {
        "train/loss": report.train_loss,
        "train/accuracy": report.train_accuracy,
        "validation/log_loss": report.val_log_loss,
        _ACCURACY: report.val_accuracy,
        "validation/macro_f1": report.val_macro_f1,
        "learning_rate": report.learning_rate,
        "images_per_s": report.images_per_s,
        "image_size": report.image_size,
        "stage": report.stage,
        "time/train_s": report.seconds.train,
        "time/validate_s": report.seconds.validate,
        "time/build_s": report.seconds.build,
        "time/trace_s": report.seconds.trace,
        "time/store_s": report.seconds.store,
        "time/data_wait_s": report.seconds.data_wait,
        "store/reused": report.store.reused,
    }


def _scalar_summary(scalars: Mapping[str, float]) -> summary_pb2.Summary:
    return summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    )


def _hparams_summary(tag: str, **content: object) -> summary_pb2.Summary:
    """The HParams plugin reads the metadata alone; the value must exist, and is the empty tensor it names for that.

    No experiment summary is written: it would have to list every parameter beforehand. Without one the plugin gathers
    the columns from all trials, so that conditional parameters appear as well.
    """
    data = plugin_data_pb2.HParamsPluginData(**content)
    value = summary_pb2.Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return summary_pb2.Summary(value=[value])


def _set_hparam(target: object, value: object) -> None:
    """Set the protobuf `Value`: bool before number, as True is an int; what is neither nor text is shown as JSON."""
    plain: bool | float | str
    match value:
        case bool():
            field, plain = "bool_value", value
        case int() | float():
            field, plain = "number_value", value
        case str():
            field, plain = "string_value", value
        case _:
            field, plain = "string_value", json.dumps(value, default=str)
    setattr(target, field, plain)
