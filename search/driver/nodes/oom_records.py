"""The study's records of segments that ran out of memory. They decide the micro-batches of later segments."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from carcls.config import TrainConfig
from search.policy.oom import SMALLEST_BATCH_TRIES, OomRecord, merged, worth_retrying
from search.study.study import Study
from search.worker.segment import Outcome

_STORED_RECORDS = "memory_refusals"
"""Key of the study's value."""


class OomRecords:
    """Stored in the study, so that later trials and later drivers start with a micro-batch that fits."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def known(self, config: TrainConfig) -> list[dict[str, Any]]:
        """The records that apply to this configuration, as JSON. They cover all devices, since the worker is not known
        yet."""
        return [record.to_json() for record in self._read() if record.key.backbone == config.backbone]

    def add(self, config: TrainConfig, outcome: Outcome) -> bool:
        """Store the record of a segment that ran out of memory.

        Returns True if another try may fit; False if the configuration is infeasible, or for other outcomes.
        """
        if outcome.oom_record is None:
            return False
        new = OomRecord.from_json(outcome.oom_record)
        self._write(merged(self._read(), new))
        return worth_retrying(config, new)

    def reset_tries(self, others: Iterable[OomRecord] = ()) -> None:
        """Add records of another study, and allow the smallest micro-batch one more try, since there may be more memory
        now."""
        kept = reduce(merged, others, self._read())
        self._write(tuple(replace(record, tries=min(record.tries, SMALLEST_BATCH_TRIES - 1)) for record in kept))

    def all(self) -> tuple[OomRecord, ...]:
        """The records of all devices and backbones."""
        return self._read()

    def _write(self, records: Sequence[OomRecord]) -> None:
        text = json.dumps([record.to_json() for record in records])
        if text != (self._study.get_value(_STORED_RECORDS) or "[]"):
            self._study.set_value(_STORED_RECORDS, text)

    def _read(self) -> tuple[OomRecord, ...]:
        return tuple(
            OomRecord.from_json(values) for values in json.loads(str(self._study.get_value(_STORED_RECORDS) or "[]"))
        )
