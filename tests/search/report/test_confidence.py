"""Intervals of accuracies."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.report.sections.confidence import overlap, wilson


def test_wilson_agrees_with_published_values():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@settings(max_examples=100)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_wilson_holds_the_share_and_narrows_with_more_photos(drawn):
    count, hits = drawn
    low, high = wilson(hits / count, count)
    assert 0.0 <= low <= hits / count <= high <= 1.0
    widths = [high - low for low, high in (wilson(hits / count, count * times) for times in (1, 4, 16))]
    assert all(wide > narrow for wide, narrow in pairwise(widths))


def test_intervals_that_touch_overlap():
    assert overlap((0.1, 0.2), (0.2, 0.3))
    assert not overlap((0.3, 0.4), (0.1, 0.2))
