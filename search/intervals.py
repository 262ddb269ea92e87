"""How sure a share of photos is. Pure."""

from math import sqrt

Interval = tuple[float, float]

_Z_95 = 1.959964
"""Two-sided 95 % point of the normal distribution."""


def wilson_interval(share: float, count: int) -> Interval:
    """95 % interval of a share that was seen in `count` > 0 independent draws (Wilson 1927); within 0..1.

    Unlike the textbook interval it stays sensible at a share of 1 and for few draws.
    """
    spread = _Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding must not push a share of 0 or 1 out of its own interval.
    return (max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
