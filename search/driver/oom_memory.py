"""What the study remembers of memory: asked when a segment is handed out, told when one had no room."""

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
"""Under which the study keeps them."""


class OomMemory:
    """Kept with the study, so that every later trial, and every later driver, starts with what fits."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def known(self, config: TrainConfig) -> list[dict[str, Any]]:
        """What a worker needs to know for this configuration, as JSON; by device, for who will train it is not known
        yet."""
        return [record.to_json() for record in self._read() if record.key.backbone == config.backbone]

    def add(self, config: TrainConfig, outcome: Outcome) -> bool:
        """Keeps what a segment's end says; True where another try is worth it, False where the configuration is
        infeasible, and for an outcome of another kind."""
        if outcome.oom_record is None:
            return False
        new = OomRecord.from_json(outcome.oom_record)
        self._write(merged(self._read(), new))
        return worth_retrying(config, new)

    def reset_tries(self, others: Iterable[OomRecord] = ()) -> None:
        """Before another call: what others know is known here too, and even the fewest photos are worth one more try,
        for there may be more memory now."""
        kept = reduce(merged, others, self._read())
        self._write(tuple(replace(record, tries=min(record.tries, SMALLEST_BATCH_TRIES - 1)) for record in kept))

    def all(self) -> tuple[OomRecord, ...]:
        """Of every device and backbone."""
        return self._read()

    def _write(self, records: Sequence[OomRecord]) -> None:
        text = json.dumps([record.to_json() for record in records])
        if text != (self._study.get_value(_STORED_RECORDS) or "[]"):
            self._study.set_value(_STORED_RECORDS, text)

    def _read(self) -> tuple[OomRecord, ...]:
        return tuple(
            OomRecord.from_json(values) for values in json.loads(str(self._study.get_value(_STORED_RECORDS) or "[]"))
        )
