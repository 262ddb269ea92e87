"""How sure a share of photos is. Pure."""

from carcls.expectation import wilson as wilson_interval

__all__ = ["Interval", "wilson_interval"]

Interval = tuple[float, float]
