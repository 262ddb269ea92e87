"""The final training's epochs: one writer, the command, for `reports.jsonl`, TensorBoard and what is pruned."""

import json
import os
from pathlib import Path
from typing import Any

from carcls import atomic
from carcls.config import TrainConfig
from carcls.events import EpochReport, best_report
from carcls.training.retention import prune_checkpoints
from search.final_job import is_done
from search.folder import StudyFolder
from search.scores import read_reports
from search.tensorboard import EventLog


class FinalLog:
    """What the folder holds of the training, and what is added to it. Raises OSError where it cannot be written."""

    def __init__(self, folder: StudyFolder, config: TrainConfig) -> None:
        self._folder = folder
        self._config = config
        _cut_torn_line(folder.retrain_reports)
        self._reports = list(read_reports(folder.retrain_reports))
        self._events = EventLog(folder.retrain)
        self._events.start("retrain", _flat("", config.model_dump(mode="json")))

    @property
    def reports(self) -> tuple[EpochReport, ...]:
        """All epochs so far."""
        return tuple(self._reports)

    @property
    def is_done(self) -> bool:
        """True where the last stage has ended."""
        return is_done(self._reports, self._config)

    def add(self, report: EpochReport) -> None:
        """One more epoch, on disk when the call returns; of the checkpoints what is needed no longer goes."""
        self._reports.append(report)
        with self._folder.retrain_reports.open("a", encoding="utf-8") as file:
            file.write(_line(report))
            file.flush()
            os.fsync(file.fileno())
        prune_checkpoints(self._folder.retrain, self._reports)
        self._events.epoch(report)
        if self.is_done:
            self._events.end(best_report(self.reports), failed=False)

    def forget_beyond(self, epoch: int) -> None:
        """Takes back the epochs after that one; 0: all of them."""
        # Before the file: what is cut off between the two falls back again, and is told again.
        self._events.take_back(epoch)
        del self._reports[epoch:]
        atomic.write_text(self._folder.retrain_reports, "".join(_line(report) for report in self._reports))


def _line(report: EpochReport) -> str:
    return json.dumps(report.to_json()) + "\n"


def _cut_torn_line(path: Path) -> None:
    """Takes away a last line that was cut off while being written, so that another can be appended."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic.write_text(path, whole)


def _flat(prefix: str, value: object) -> dict[str, Any]:
    """A tree's plain values by dotted key, stages by name."""
    if isinstance(value, dict):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        parts = [(stage["name"], stage) for stage in value]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in parts:
        flat |= _flat(f"{prefix}.{key}" if prefix else key, inner)
    return flat
