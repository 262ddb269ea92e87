"""What the study remembers of memory: asked when a segment is handed out, told when one had no room."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from carcls.config import TrainConfig
from search.policy.oom import TRIES_OF_THE_FEWEST, Refusal, has_next, remember
from search.study.study import Study
from search.worker.segment import Outcome

_REFUSALS = "memory_refusals"
"""Under which the study keeps them."""


class Refusals:
    """Kept with the study, so that every later trial, and every later driver, starts with what fits."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def known(self, config: TrainConfig) -> list[dict[str, Any]]:
        """What a worker needs to know for this configuration, as JSON; by device, for who will train it is not known
        yet."""
        return [refusal.to_json() for refusal in self._read() if refusal.place.backbone == config.backbone]

    def add(self, config: TrainConfig, outcome: Outcome) -> bool:
        """Keeps what a segment's end says; True where another try is worth it, False where the configuration is
        infeasible, and for an outcome of another kind."""
        if outcome.refusal is None:
            return False
        new = Refusal.from_json(outcome.refusal)
        self._write(remember(self._read(), new))
        return has_next(config, new)

    def begin_again(self, others: Iterable[Refusal] = ()) -> None:
        """Before another call: what others know is known here too, and even the fewest photos are worth one more try,
        for there may be more memory now."""
        kept = reduce(remember, others, self._read())
        self._write(tuple(replace(refusal, tries=min(refusal.tries, TRIES_OF_THE_FEWEST - 1)) for refusal in kept))

    def all(self) -> tuple[Refusal, ...]:
        """Of every device and backbone."""
        return self._read()

    def _write(self, refusals: Sequence[Refusal]) -> None:
        text = json.dumps([refusal.to_json() for refusal in refusals])
        if text != (self._study.get_value(_REFUSALS) or "[]"):
            self._study.set_value(_REFUSALS, text)

    def _read(self) -> tuple[Refusal, ...]:
        return tuple(Refusal.from_json(values) for values in json.loads(str(self._study.get_value(_REFUSALS) or "[]")))
