"""When a limit counts as used up, and what of it is kept for the finals. Pure; serves real and simulated searches."""

_LARGEST_FINALS = 0.5
"""Share of a budget that is set aside for the finals at most: a search that may do nothing else finds nothing."""


def is_used_up(used: float, limit: float | None, reserve: float) -> bool:
    """reserve: what is to be left over, as a share of what was used. A limit of None is never used up."""
    return limit is not None and used >= limit - min(reserve * used, _LARGEST_FINALS * limit)
