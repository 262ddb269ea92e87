"""Blackboxes: what a simulated search trains instead of photos on GPUs."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from search.errors import CurvesError
from search.experiment.domains import Choice, Value
from search.experiment.space import Space
from search.policy.policy import Proposal
from search.simulator.curves import Curve


@dataclass(frozen=True, slots=True)
class Training:
    """A proposal, trained to its end."""

    curve: Curve
    """The parameters of the curve are those of the trial. They may differ from the proposed ones."""
    row: int | None
    """Row of the recorded configuration that answers; it is taken from now on. None if no row is taken."""


class Blackbox(Protocol):
    """Answers proposals. Pure: equal arguments give equal answers, and no state is kept between calls."""

    @property
    def space(self) -> Space:
        """The search space of the proposals."""
        ...

    @property
    def baseline(self) -> Mapping[str, Value]:
        """The default recipe's parameters."""
        ...

    @property
    def size(self) -> int | None:
        """Number of trials that it can answer in one search; None if unlimited."""
        ...

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        """Train a proposal to its end.

        taken: rows of earlier trials of this search. seed: the search's seed. A proposal with a repetition repeats a
        known configuration and takes no row. Raises CurvesError if every row is taken.
        """
        ...


@dataclass(frozen=True)
class RecordedCurves:
    """Real trainings: the nearest recorded configuration that is not taken answers a proposal.

    The distance is a sum over parameters: 0 or 1 for a choice, the difference of positions in [0, 1] for a number, and
    1 for a parameter that only one of the two has. Ties go to the lower row. For a configuration with several seeds,
    the first recorded one answers, and the others answer its repetitions in turn. A configuration recorded once repeats
    itself exactly. The constructor raises CurvesError for a configuration outside the space.
    """

    space: Space
    curves: Sequence[Curve]

    def __post_init__(self) -> None:
        for number, curve in enumerate(self.curves, start=1):
            for name, wrong in self.space.problems(curve.params):
                raise CurvesError(f"curve {number}: {name}: {wrong}; simulate with the experiment that was recorded")
        if not self.curves:
            raise CurvesError("no curves to simulate: record some with `carsearch record`")

    @cached_property
    def rows(self) -> tuple[tuple[Curve, ...], ...]:
        """The trainings of each configuration, in the order recorded."""
        rows: dict[frozenset[tuple[str, Value]], list[Curve]] = {}
        for curve in self.curves:
            rows.setdefault(frozenset(curve.params.items()), []).append(curve)
        return tuple(tuple(row) for row in rows.values())

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @property
    def baseline(self) -> Mapping[str, Value]:
        """Parameters of the row marked as baseline, or the space's defaults."""
        return self.space.default() if self._baseline_row is None else self.rows[self._baseline_row][0].params

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        """See `Blackbox`. A proposed baseline gets the baseline's row. The seed has no effect."""
        del seed
        if proposal.repetition:
            known = self.rows[self._nearest(proposal.params, frozenset())]
            return Training(known[proposal.repetition % len(known)], None)
        row = self._baseline_row if proposal.is_baseline else None
        if row is None or row in taken:
            row = self._nearest(proposal.params, taken)
        return Training(self.rows[row][0], row)

    def _nearest(self, params: Mapping[str, Value], taken: Set[int]) -> int:
        if len(taken) >= self.size:
            raise CurvesError(f"all {self.size} recorded configurations are taken: ask for fewer trials")
        here, there = self._place(params), self._places
        apart = np.abs(there - here)
        apart[:, self._choices] = apart[:, self._choices] > 0
        absent = np.isnan(there) != np.isnan(here)
        distances = np.where(absent, 1.0, np.nan_to_num(apart)).sum(axis=1)
        distances[list(taken)] = np.inf
        return int(distances.argmin())

    @cached_property
    def _baseline_row(self) -> int | None:
        return next((row for row, trainings in enumerate(self.rows) if trainings[0].is_baseline), None)

    @cached_property
    def _choices(self) -> list[int]:
        return [at for at, domain in enumerate(self.space.domains.values()) if isinstance(domain, Choice)]

    @cached_property
    def _places(self) -> np.ndarray:
        return np.stack([self._place(trainings[0].params) for trainings in self.rows])

    def _place(self, params: Mapping[str, Value]) -> np.ndarray:
        """(parameters,): each one's position in [0, 1]; NaN for parameters that the configuration does not have."""
        places = (
            domain.unit(params[name]) if name in params else np.nan  # type: ignore[arg-type] # it is in the domain
            for name, domain in self.space.domains.items()
        )
        return np.array(list(places), dtype=np.float64)
