"""Policies of ours that can be compared: `python -m benchmarks.policy --policy NAME ...`; the first one is judged."""

from collections.abc import Callable, Mapping

from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.policy import Policy, SearchPolicy
from search.policy.scheduler import Ladder

Make = Callable[[Space, Mapping[str, Value], int], Policy]
"""(space, default recipe, seed) -> the policy of one search."""


def ladder(
    *, reduction_factor: int, sampler: str = "tpe", prunes: bool = True, first_rung: int = 1, adaptive: bool = False
) -> Make:
    """As `search.scheduler` and `search.sampler` of an experiment file say."""

    def make(space: Space, baseline: Mapping[str, Value], seed: int) -> Policy:
        rungs = Ladder(reduction_factor, prunes=prunes, first_rung=first_rung - 1, adaptive=adaptive)
        return SearchPolicy(space, baseline, rungs, sampler, seed)

    return make


CANDIDATES: Mapping[str, Make] = {
    "adaptive-3": ladder(reduction_factor=3, adaptive=True),
    "adaptive-2": ladder(reduction_factor=2, adaptive=True),
    "asha-3": ladder(reduction_factor=3),
    "asha-2": ladder(reduction_factor=2),
    "asha-4": ladder(reduction_factor=4),
    "asha-2-random": ladder(reduction_factor=2, sampler="random"),
    "asha-2-sobol": ladder(reduction_factor=2, sampler="sobol"),
    **{
        f"asha-{factor}-from-{first}": ladder(reduction_factor=factor, first_rung=first)
        for factor in (2, 3, 4)
        for first in (2, 3)
    },
    "to-the-end": ladder(reduction_factor=2, prunes=False),
}
"""The first: what `experiments/*.yaml` use on these photos."""
