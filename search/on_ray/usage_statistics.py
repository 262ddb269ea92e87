"""Ray's usage statistics, which are on by default: off unless the user has turned them on."""

import json
from collections.abc import MutableMapping
from pathlib import Path

_VARIABLE = "RAY_USAGE_STATS_ENABLED"
_CONFIG = Path(".ray") / "config.json"
"""Below the user's home; `ray enable-usage-stats` writes it."""


def turn_off(environment: MutableMapping[str, str], home: Path) -> None:
    """Keeps a Ray started later from sending usage statistics, unless the user's environment or Ray's own file says
    otherwise."""
    if _VARIABLE not in environment and not _is_on(home / _CONFIG):
        environment[_VARIABLE] = "0"


def _is_on(config: Path) -> bool:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("usage_stats") is True
