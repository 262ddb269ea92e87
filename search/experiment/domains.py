"""Domains of parameters: a choice, a range of numbers, or a range of whole numbers. Pure values without names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import numpy as np

Value = int | float | str | bool | None
"""The types of a parameter's value; JSON preserves them."""


class TrialLike(Protocol):
    """The methods of an Optuna trial that `Space.suggest` uses."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        """One of the choices."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values, in file order; the first is the default."""

    values: tuple[Value, ...]

    def default(self) -> Value:
        """The first value."""
        return self.values[0]

    def corners(self) -> tuple[Value, ...]:
        """The values that a check must try: all of them."""
        return self.values

    def draw(self, rng: np.random.Generator) -> Value:
        """One value, all equally likely."""
        return self.values[int(rng.integers(len(self.values)))]

    def at(self, unit: float) -> Value:
        """The value at a position in [0, 1); each value has an equal share."""
        return self.values[_step_at(unit, len(self.values))]

    def unit(self, value: Value) -> float:
        """The middle of a value's share of [0, 1). Raises ValueError for an unknown value."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def suggest(self, trial: TrialLike, name: str) -> Value:
        """Ask an Optuna trial."""
        return trial.suggest_categorical(name, self.values)

    def __contains__(self, value: object) -> bool:
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values)

    def __str__(self) -> str:
        return f"choice [{', '.join('null' if value is None else str(value) for value in self.values)}]"


@dataclass(frozen=True, slots=True)
class Uniform:
    """A number in [low, high], uniformly distributed; with a step, one of low, low + step, ..."""

    low: float
    high: float
    step: float | None = None

    def default(self) -> float:
        """The arithmetic mean of the bounds, or the step nearest to it."""
        middle = (self.low + self.high) / 2
        return middle if self.step is None else self._at(round((middle - self.low) / self.step))

    def corners(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return (self.low, self.top)

    def draw(self, rng: np.random.Generator) -> float:
        """One value, all equally likely."""
        if self.step is None:
            return float(rng.uniform(self.low, self.high))
        return self._at(int(rng.integers(self._count + 1)))

    def at(self, unit: float) -> float:
        """The value at a position in [0, 1); equal lengths have equal shares."""
        if self.step is None:
            return self.low + unit * (self.high - self.low)
        return self._at(_step_at(unit, self._count + 1))

    def unit(self, value: float) -> float:
        """A value's position in [0, 1]; with steps, the middle of its share."""
        if self.step is None:
            return _share(value, self.low, self.high)
        return (round((value - self.low) / self.step) + 0.5) / (self._count + 1)

    def suggest(self, trial: TrialLike, name: str) -> float:
        """Ask an Optuna trial."""
        return trial.suggest_float(name, self.low, self.top, step=self.step)

    @property
    def top(self) -> float:
        """The largest value that the steps reach."""
        return self.high if self.step is None else self._at(self._count)

    @property
    def _count(self) -> int:
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step or 1.0))

    def _at(self, number: int) -> float:
        return float(_exact(self.low) + number * _exact(self.step or 1.0))

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.top:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8  # Optuna's own tolerance

    def __str__(self) -> str:
        return f"uniform [{self.low:g}, {self.high:g}]" + (f" step {self.step:g}" if self.step else "")


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A number in [low, high], its logarithm uniformly distributed."""

    low: float
    high: float

    def default(self) -> float:
        """The geometric mean of the bounds, to six digits."""
        middle = math.exp((math.log(self.low) + math.log(self.high)) / 2)
        return min(max(float(f"{middle:.6g}"), self.low), self.high)

    def corners(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return (self.low, self.high)

    def draw(self, rng: np.random.Generator) -> float:
        """One value, its logarithm uniformly distributed."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)  # exp(log(x)) may leave the range by one bit

    def at(self, unit: float) -> float:
        """The value at a position in [0, 1); equal factors have equal shares."""
        value = math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)

    def unit(self, value: float) -> float:
        """A value's position in [0, 1]."""
        return _share(math.log(value), math.log(self.low), math.log(self.high))

    def suggest(self, trial: TrialLike, name: str) -> float:
        """Ask an Optuna trial."""
        return trial.suggest_float(name, self.low, self.high, log=True)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"loguniform [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in [low, high]: low, low + step, ...; with `log`, its logarithm is about uniformly distributed."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def default(self) -> int:
        """The mean of the bounds (geometric with `log`), or the step nearest to it."""
        middle = math.sqrt(self.low) * math.sqrt(self.high) if self.log else (self.low + self.high) / 2
        return self.low + self.step * round((middle - self.low) / self.step)

    def corners(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return (self.low, self.top)

    def draw(self, rng: np.random.Generator) -> int:
        """One value, all (or their logarithms) equally likely."""
        if not self.log:
            return self.low + self.step * int(rng.integers((self.top - self.low) // self.step + 1))
        value = round(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))
        return min(max(value, self.low), self.high)

    def at(self, unit: float) -> int:
        """The value at a position in [0, 1); equal shares, or with `log` equal shares of the logarithm."""
        if not self.log:
            return self.low + self.step * _step_at(unit, (self.top - self.low) // self.step + 1)
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return min(max(round(math.exp(low + unit * (high - low))), self.low), self.high)

    def unit(self, value: int) -> float:
        """A value's position in [0, 1], within its share."""
        if not self.log:
            return ((value - self.low) // self.step + 0.5) / ((self.top - self.low) // self.step + 1)
        return _share(math.log(value), math.log(self.low - 0.5), math.log(self.high + 0.5))

    def suggest(self, trial: TrialLike, name: str) -> int:
        """Ask an Optuna trial."""
        return trial.suggest_int(name, self.low, self.top, step=self.step, log=self.log)

    @property
    def top(self) -> int:
        """The largest value that the steps reach."""
        return self.high - (self.high - self.low) % self.step

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.top and (value - self.low) % self.step == 0

    def __str__(self) -> str:
        extras = (f" step {self.step}" if self.step != 1 else "") + (" log" if self.log else "")
        return f"int [{self.low}, {self.high}]{extras}"


Domain = Choice | Uniform | LogUniform | Integer


def _step_at(unit: float, count: int) -> int:
    return min(int(unit * count), count - 1)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))
