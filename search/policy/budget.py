"""When a limit is used up, and how much of it the finals reserve. Pure; shared by real and simulated searches."""

from dataclasses import dataclass, replace

_LARGEST_FINALS = 0.5
"""The largest share of a budget that the finals may reserve. Without a cap, nothing would be left for the search."""


def is_used_up(used: float, limit: float | None, reserve: float) -> bool:
    """True if `used` plus the reserve reaches `limit`.

    reserve: what must be left over, as a share of `used`. A limit of None is never used up.
    """
    return limit is not None and used >= limit - min(reserve * used, _LARGEST_FINALS * limit)


@dataclass(frozen=True, slots=True)
class GpuMeter:
    """GPU time used by a search. A trial's share of a GPU may change between runs; time already spent stays spent."""

    share: float = 0.0
    """Share of one GPU that each trial has now; 0 without a GPU."""
    since_s: float = 0.0
    """Total seconds of training when trials got this share, minus the seconds of epochs lost since."""
    before_s: float = 0.0
    """GPU-seconds spent before that."""

    def used_s(self, trained_s: float) -> float:
        """GPU-seconds after `trained_s` seconds of training in total."""
        return self.before_s + (trained_s - self.since_s) * self.share

    def mean_share(self, trained_s: float) -> float:
        """Mean share of one GPU over `trained_s` seconds of training in total."""
        return self.used_s(trained_s) / trained_s if trained_s else self.share

    def with_share(self, share: float, trained_s: float) -> "GpuMeter":
        """The meter once trials have this share."""
        return self if share == self.share else GpuMeter(share, trained_s, self.used_s(trained_s))

    def with_lost(self, lost_s: float) -> "GpuMeter":
        """The meter after epochs were lost: their seconds no longer count as trained, but they stay spent."""
        return replace(self, since_s=self.since_s - lost_s)
