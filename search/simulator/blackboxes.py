"""What a simulated training does: the seam between a virtual search and what stands in for photos and GPUs."""

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
    """What a proposal comes to where it is trained to its end."""

    curve: Curve
    """Its params are the trial's, which may differ from those proposed."""
    row: int | None
    """The recorded configuration that answers, taken from now on; None where none is taken."""


class Blackbox(Protocol):
    """Answers proposals. Pure: the same arguments have the same answer, and nothing is kept between two calls."""

    @property
    def space(self) -> Space:
        """What may be proposed."""
        ...

    @property
    def baseline(self) -> Mapping[str, Value]:
        """The default recipe's parameters."""
        ...

    @property
    def size(self) -> int | None:
        """Trials that it can answer in one search; None: any number."""
        ...

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        """The whole training. `taken`: rows that earlier trials of this search were; `seed`: the search's own. A
        proposal with a repetition is a known configuration once more: it takes no row.

        Raises CurvesError where every row is taken.
        """
        ...


@dataclass(frozen=True)
class RecordedCurves:
    """Real trainings: a proposal is answered by the nearest recorded configuration that was not taken yet.

    Distance is summed over parameters: 0 or 1 for a choice, the difference of places in [0, 1] for a number, 1 for a
    parameter that only one of the two has. The lower row wins among equals. Of one configuration with several seeds,
    the first recorded answers, and the others its repetitions, in turn; a configuration that was recorded once repeats
    itself exactly. Making one raises CurvesError where a configuration is no point of the space.
    """

    space: Space
    curves: Sequence[Curve]

    def __post_init__(self) -> None:
        for number, curve in enumerate(self.curves, start=1):
            for name, wrong in self.space.problems(curve.params):
                raise CurvesError(f"curve {number}: {name}: {wrong}; simulate with the experiment that was recorded")
        if not self.curves:
            raise CurvesError("no curve: nothing to simulate; record some with `carsearch record`")

    @cached_property
    def rows(self) -> tuple[tuple[Curve, ...], ...]:
        """The trainings of each configuration, in the order recorded."""
        rows: dict[frozenset[tuple[str, Value]], list[Curve]] = {}
        for curve in self.curves:
            rows.setdefault(frozenset(curve.params.items()), []).append(curve)
        return tuple(tuple(row) for row in rows.values())

    @property
    def size(self) -> int:
        """All rows."""
        return len(self.rows)

    @property
    def baseline(self) -> Mapping[str, Value]:
        """The row marked as baseline, or the space's defaults where none is."""
        return self.space.default() if self._baseline_row is None else self.rows[self._baseline_row][0].params

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        """See `Blackbox`. A proposed baseline gets its row; the seed changes nothing."""
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
        """(parameters,): each one's place in [0, 1]; NaN where the configuration does not have it."""
        places = (
            domain.unit(params[name]) if name in params else np.nan  # type: ignore[arg-type] # it is in the domain
            for name, domain in self.space.domains.items()
        )
        return np.array(list(places), dtype=np.float64)
