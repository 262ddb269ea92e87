"""What the study remembers of memory: asked when a segment is handed out, told when one had no room."""

import json
from typing import Any

from carcls.config import TrainConfig
from search.cluster.segment import Outcome
from search.policy.memory import Refusal, has_next, remember
from search.study import Study

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
        kept = remember(self._read(), new)
        self._study.set_value(_REFUSALS, json.dumps([refusal.to_json() for refusal in kept]))
        return has_next(config, new)

    def _read(self) -> tuple[Refusal, ...]:
        return tuple(Refusal.from_json(values) for values in json.loads(str(self._study.get_value(_REFUSALS) or "[]")))
