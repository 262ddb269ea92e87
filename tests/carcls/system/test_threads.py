"""One action on many items in threads."""

import threading

import pytest

from carcls.system.threads import for_each


def test_each_item_is_taken_once() -> None:
    seen: list[int] = []
    for_each(seen.append, range(50), threads=4)
    assert sorted(seen) == list(range(50))


def test_after_an_error_what_has_not_begun_is_left_out() -> None:
    seen: list[int] = []
    never = threading.Event()

    def act(item: int) -> None:
        seen.append(item)
        if item == 1:
            raise ValueError("no")
        if item > 1:
            never.wait(0.01)  # the whole would take minutes

    with pytest.raises(ValueError, match="no"):
        for_each(act, range(10_000), threads=1)
    assert len(seen) < 10_000
    assert seen[:2] == [0, 1]
