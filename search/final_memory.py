"""What had no room in the final training, and what the study's own search had learned of the same device before."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

from carcls import atomic
from carcls.config import TrainConfig
from search.cluster.refusals import Refusals
from search.errors import StudyError
from search.folder import StudyFolder
from search.policy.memory import Refusal, remember
from search.study import Study


class FinalMemory:
    """Kept in `retrain/memory.json`, so that a later call starts with what fits."""

    def __init__(self, folder: StudyFolder, config: TrainConfig) -> None:
        """Raises StudyError where the file is damaged."""
        self._path = folder.retrain_memory
        self._own = _read(self._path)
        searched = Refusals(Study.open(folder.root, read_only=True)).known(config) if folder.log.exists() else []
        self._searched = tuple(Refusal.from_json(values) for values in searched)

    @property
    def known(self) -> list[dict[str, Any]]:
        """All of it, as a segment carries it; of every device."""
        return [refusal.to_json() for refusal in reduce(remember, self._searched, self._own)]

    def add(self, refusal: Refusal) -> None:
        """One more; on disk when the call returns. Raises OSError."""
        self._own = remember(self._own, refusal)
        atomic.write_text(self._path, json.dumps([known.to_json() for known in self._own], indent=2))


def _read(path: Path) -> tuple[Refusal, ...]:
    if not path.exists():
        return ()
    try:
        return tuple(Refusal.from_json(values) for values in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(
            f"{path}: damaged ({type(error).__name__}: {error}), expected a list of what had no room:"
            " delete it; what had no room is then tried once more"
        ) from error
