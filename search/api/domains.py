"""What may stand in place of a value in an experiment built in Python, as in an experiment file."""

from typing import Any


def choice(*options: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401 - any plain value
    """One of several values: `choice(16, 32)`, or of named sets of keys: `choice(small={...}, large={...})`."""
    if bool(options) == bool(named):
        raise TypeError("choice: give values, or named mappings, not both")
    return {"choice": dict(named) if named else list(options)}


def uniform(low: float, high: float) -> dict[str, Any]:
    """A number from low to high, evenly."""
    return {"uniform": [low, high]}


def loguniform(low: float, high: float) -> dict[str, Any]:
    """A positive number from low to high, evenly in its logarithm."""
    return {"loguniform": [low, high]}
