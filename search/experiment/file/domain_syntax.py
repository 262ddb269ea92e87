"""The syntax of domains: reads a mapping such as `{uniform: [0, 0.5], step: 0.1}` into a Domain."""

from collections.abc import Mapping
from typing import Any

from search.experiment.domains import Choice, Domain, Integer, LogUniform, Uniform

DOMAIN_KEYS = ("choice", "uniform", "loguniform", "int")
"""A mapping with one of these keys is a domain. No setting has such a name."""

LARGEST = 2**53
"""Bound of all numbers in domains: floats represent whole numbers exactly up to here."""


class DomainError(ValueError):
    """An invalid domain; the message says what was found and expected."""


def read_domain(raw: Mapping[str, object]) -> Domain:
    """The domain that a mapping such as `{uniform: [0, 0.5], step: 0.1}` describes.

    Raises DomainError. A choice of named mappings is `Choice` of the names.
    """
    kinds = [key for key in raw if key in DOMAIN_KEYS]
    if len(kinds) != 1:
        raise DomainError(f"expected exactly one of {', '.join(DOMAIN_KEYS)}; found {', '.join(kinds)}")
    kind = kinds[0]
    allowed = {"uniform": {"step"}, "int": {"step", "log"}}.get(kind, set())
    for extra in raw:
        if extra != kind and extra not in allowed:
            beside = f"expected only {' and '.join(sorted(allowed))}" if allowed else "expected nothing"
            raise DomainError(f"unknown key {extra!r} in a domain; {beside} beside `{kind}`")
    if kind == "choice":
        return _choice(raw["choice"])
    if kind == "int":
        return _integer(raw)
    low, high = _bounds(kind, raw[kind])
    if kind == "loguniform":
        if low <= 0:
            raise DomainError(f"loguniform needs bounds above 0, found {low:g}")
        return LogUniform(low, high)
    return Uniform(low, high, _step(raw, high - low))


def _choice(values: object) -> Choice:
    if isinstance(values, Mapping):
        values = list(values)
    if isinstance(values, list):
        values = [plain_value(value) for value in values]
    if not isinstance(values, list) or not values:
        raise DomainError("choice needs a list of values or named mappings, with at least one")
    for number, value in enumerate(values):
        if isinstance(value, list | dict):
            raise DomainError(
                "choice needs plain values; to vary several settings together, name the mappings: {a: {...}}"
            )
        if value in values[:number]:
            raise DomainError(f"choice holds {value!r} twice")
    return Choice(tuple(values))


def plain_value(value: Any) -> Any:  # noqa: ANN401 - anything that a file may hold
    """`384x512` for [384, 512], the only list that a key takes in place of a value; anything else as it is."""
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value):
        return f"{value[0]}x{value[1]}"
    return value


def _integer(raw: Mapping[str, object]) -> Integer:
    low, high = _bounds("int", raw["int"])
    step, log = raw.get("step", 1), raw.get("log", False)
    if not low.is_integer() or not high.is_integer():
        raise DomainError("int needs whole numbers as bounds")
    if not isinstance(log, bool):
        raise DomainError(f"log needs true or false, found {log!r}")
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        raise DomainError(f"step beside int needs a whole number of at least 1, found {step!r}")
    if step > high - low:
        raise DomainError(f"step {step} is larger than the range")
    if log and (step != 1 or low < 1):
        raise DomainError("log beside int needs bounds of at least 1 and no step")
    return Integer(int(low), int(high), step, log)


def _bounds(kind: str, bounds: object) -> tuple[float, float]:
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(_is_number(bound) for bound in bounds):
        raise DomainError(f"{kind} needs two numbers, [low, high], of at most {LARGEST:g}; found {bounds!r}")
    low, high = float(bounds[0]), float(bounds[1])
    if low >= high:
        raise DomainError(f"{kind} needs low < high, found [{bounds[0]}, {bounds[1]}]")
    return low, high


def _step(raw: Mapping[str, object], width: float) -> float | None:
    step = raw.get("step")
    if step is None:
        return None
    if not _is_number(step) or not isinstance(step, int | float) or not 1e-9 * width <= step <= width:
        raise DomainError(f"step beside uniform needs a number above 0 that fits into the range, found {step!r}")
    return float(step)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
