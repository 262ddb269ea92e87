"""When a limit counts as used up, and what of it is kept for the finals. Pure; serves real and simulated searches."""

from dataclasses import dataclass, replace

_LARGEST_FINALS = 0.5
"""Share of a budget that is set aside for the finals at most: a search that may do nothing else finds nothing."""


def is_used_up(used: float, limit: float | None, reserve: float) -> bool:
    """reserve: what is to be left over, as a share of what was used. A limit of None is never used up."""
    return limit is not None and used >= limit - min(reserve * used, _LARGEST_FINALS * limit)


@dataclass(frozen=True, slots=True)
class GpuMeter:
    """What a search has had of GPUs. A trial's share of one may change from run to run; what was spent stays spent."""

    share: float = 0.0
    """Of one GPU, that each trial has now; 0 without."""
    since_s: float = 0.0
    """Seconds that trials had been trained when they got this share, less those whose epochs were lost since."""
    before_s: float = 0.0
    """GPU-seconds spent until then."""

    def used_s(self, trained_s: float) -> float:
        """GPU-seconds, after so many seconds of training in all."""
        return self.before_s + (trained_s - self.since_s) * self.share

    def mean_share(self, trained_s: float) -> float:
        """Of one GPU, that trials have had, over so many seconds of training in all."""
        return self.used_s(trained_s) / trained_s if trained_s else self.share

    def with_share(self, share: float, trained_s: float) -> "GpuMeter":
        """From now on trials have this share."""
        return self if share == self.share else GpuMeter(share, trained_s, self.used_s(trained_s))

    def with_lost(self, lost_s: float) -> "GpuMeter":
        """So many seconds of training count no longer as trained, their epochs being lost; they stay spent."""
        return replace(self, since_s=self.since_s - lost_s)
