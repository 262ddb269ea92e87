"""GPU time stays spent, whatever share of a GPU later runs give to their trials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.policy.budget import GpuMeter

runs = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 1000)), max_size=6)


@given(runs)
def test_each_run_counts_with_its_own_share(runs: list[tuple[float, int]]) -> None:
    meter, trained_s = GpuMeter(), 0
    for share, seconds in runs:
        meter = meter.with_share(share, trained_s)
        trained_s += seconds
    assert meter.mean_share(trained_s) * trained_s == pytest.approx(meter.used_s(trained_s))
    assert meter.used_s(trained_s) == sum(share * seconds for share, seconds in runs)


def test_the_same_share_changes_nothing() -> None:
    meter = GpuMeter(0.5, since_s=10.0, before_s=2.0)
    assert meter.with_share(0.5, 100.0) is meter


@given(runs, st.integers(0, 500))
def test_time_spent_on_lost_epochs_stays_spent(runs: list[tuple[float, int]], lost_s: int) -> None:
    meter, trained_s = GpuMeter(), 0
    for share, seconds in runs:
        meter = meter.with_share(share, trained_s)
        trained_s += seconds
    after = meter.with_lost(lost_s)
    assert after.used_s(trained_s - lost_s) == meter.used_s(trained_s)
    assert after.used_s(trained_s - lost_s + 60) == meter.used_s(trained_s) + 60 * meter.share
