"""Which settings of an existing study may change, and why the others may not. The tables here cover every key."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.experiment.database_url import without_passwords
from search.experiment.file.yaml_source import Plain

RESUMABLE = (
    "search.trials",
    "search.budget",
    "search.finalists",
    "search.max_concurrent",
    "search.resources",
    "search.checkpoints",
    "search.max_restarts",
    "search.deadline",
    "search.nodes",
    "store",
)
"""Keys that a resumed search may change: they set how much is searched and where, not what finished trials mean."""

RETRAINABLE = (
    "retrain",
    "data.extra",
    "data.pseudo",
    "tta",
    "store",
    "search.resources",
    "search.deterministic",
    "search.max_restarts",
    "search.deadline",
    "search.nodes",
)
"""Keys that a final training may change."""

SEARCH_ONLY = (
    "search.trials",
    "search.budget",
    "search.finalists",
    "search.checkpoints.quota_gb",
    "search.checkpoints.checkpoint_minutes",
)
"""Of the resumable keys, those that nothing after a search uses."""

FIXED: Mapping[str, str] = {
    "name": "it names the study and its folder",
    "data": "finished trials were trained and scored on these photos, in this split",
    "train": "finished trials were proposed and trained within this space",
    "search.seed": "it drew the finished trials and the views of their photos",
    "search.rank_by": "it ranked the finished trials",
    "search.sampler": "it proposed the finished trials",
    "search.scheduler": "its rungs decided which trials continued",
    "search.baseline": "trial 0 was trained with it",
    "search.portfolio": "its recipes are the first trials",
    "search.deterministic": "it chose the kernels of the finished trials",
    "retrain": "it belongs to the final training: give it to 'carsearch retrain'",
    "tta": "it belongs to the final training: give it to 'carsearch retrain'",
    "record": "it numbers the points of a recording",
    "results": "the study is stored there: move the folder itself",
    "storage": "the study's record is there; if the server has moved, change its address in study.log",
}
"""Why each other key is fixed: a new value would change the meaning of finished trials, or belongs elsewhere."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of a study that a later command changed."""

    key: str
    old: Plain
    """None for the default."""
    new: Plain
    time: str = ""
    """When it was recorded, in UTC, ISO 8601."""

    def __str__(self) -> str:
        return f"{self.key}: {_text(self.old)} -> {_text(self.new)}"

    @property
    def override(self) -> str:
        """As an argument of `--set`: JSON, with unprintable characters escaped so that it is YAML."""
        text = json.dumps(self.new, ensure_ascii=False)
        return f"{self.key}={''.join(char if char.isprintable() else f'{chr(92)}U{ord(char):08x}' for char in text)}"


def refusal(override: str, changeable: Sequence[str]) -> str | None:
    """Why an override of an existing study is rejected, or None if it is allowed. Its key may be unknown."""
    key = override.partition("=")[0].strip()
    if _covered(key, changeable):
        return None
    reason = next((reason for fixed, reason in FIXED.items() if _covered(key, (fixed,))), None)
    if reason is None and _covered(key, RESUMABLE):
        reason = "it belongs to the search: give it to 'carsearch resume'"
    because = f": {reason}" if reason else ""
    set_to = f"--set {without_passwords(override)}"
    return f"{set_to}: {key} cannot change in an existing study{because}; what can: {', '.join(changeable)}"


def differences(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> list[Change]:
    """The changes that turn the old tree into the new one, by dotted path. Pure.

    Lists change as a whole, and so does a section that lost a key. A null equals a missing key.
    """
    changes: list[Change] = []
    _compare((), old, new, changes)
    return changes


def covered(changes: Sequence[Change], tops: Sequence[str]) -> tuple[Change, ...]:
    """The changes of these keys and of what they contain. Pure."""
    return tuple(change for change in changes if _covered(change.key, tops))


def _compare(path: tuple[str, ...], old: Any, new: Any, changes: list[Change]) -> None:  # noqa: ANN401 - plain trees
    if isinstance(new, Mapping) and (old is None or (isinstance(old, Mapping) and old.keys() <= new.keys())):
        for key, value in new.items():
            _compare((*path, key), (old or {}).get(key), value, changes)
    elif old != new:
        changes.append(Change(".".join(path), old, new))


def _covered(key: str, tops: Sequence[str]) -> bool:
    return any(key == top or key.startswith(f"{top}.") for top in tops)


def _text(value: Plain) -> str:
    return "default" if value is None else json.dumps(value, ensure_ascii=False)
