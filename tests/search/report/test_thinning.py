"""Thinned points keep the extent and lie in different cells; merged bars cover the same time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from search.report.sections.course import Span
from search.report.thinning import merged, thinned

UNIT = st.floats(0.001, 1.0)


def test_points_in_one_cell_become_the_first_of_them():
    assert thinned([(0.0, 0.0), (0.001, 0.001), (1.0, 1.0), (0.999, 1.0)]) == [(0.0, 0.0), (1.0, 1.0), (0.999, 1.0)]
    assert thinned([]) == []
    assert thinned([(2.0, 0.5), (2.0, 0.5)]) == [(2.0, 0.5)]


def test_a_logarithmic_grid_tells_small_values_apart():
    points = [(10.0**-power, 0.5) for power in range(5)]
    assert thinned(points) == points[:3], "on a linear axis, the smallest values are at one place"
    assert thinned([*points, (0.0, 0.5)], log_x=True) == points


@settings(max_examples=50)
@given(st.lists(st.tuples(UNIT, UNIT), max_size=300))
def test_thinned_points_are_some_of_the_points_and_none_is_far_from_one(points):
    kept = thinned(points)
    assert set(kept) <= set(points)
    assert len(kept) <= 65 * 41
    assert all(min(max(abs(x - u), abs(y - v)) for u, v in kept) <= 1 / 40 for x, y in points)
    assert thinned(kept) == kept or len(kept) < len(points)


def bar(number, lane, start_s, end_s, fate="stopped"):
    return Span(number, lane, start_s, end_s, fate, "head")


def test_few_bars_stay_as_they_are():
    bars = (bar(0, 0, 0.0, 10.0), bar(1, 1, 5.0, 20.0))
    assert merged(bars, 2) == bars
    assert merged((), 2) == ()


def test_short_bars_of_a_lane_become_one_that_counts_them():
    lane = [bar(n, 0, float(n), n + 1.0, "complete" if n % 4 == 0 else "stopped") for n in range(16)]
    long = bar(16, 1, 0.0, 4096.0)
    first, second = merged([*lane, long], 2)
    assert (first.number, first.lane, first.start_s, first.end_s, first.fate) == (None, 0, 0.0, 16.0, "stopped")
    assert first.stages == "16 trainings (12 stopped early, 4 all stages)"
    assert second == long


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), UNIT, UNIT), max_size=100), st.integers(4, 50))
def test_merged_bars_cover_what_the_bars_covered(drawn, most):
    ends = [0.0] * 4
    bars = []
    for number, (lane, gap, took) in enumerate(drawn):
        bars.append(bar(number, lane, ends[lane] + gap, ends[lane] + gap + took))
        ends[lane] = bars[-1].end_s
    found = merged(bars, most)
    assert len(found) <= most
    for lane in range(4):
        before, after = ([one for one in all_ if one.lane == lane] for all_ in (bars, found))
        if before:
            assert min(one.start_s for one in before) == min(one.start_s for one in after)
            assert max(one.end_s for one in before) == max(one.end_s for one in after)
        assert all(any(one.start_s <= x.start_s and x.end_s <= one.end_s for one in after) for x in before)
