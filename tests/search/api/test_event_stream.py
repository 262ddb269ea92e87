"""Events as an iterator: everything arrives, errors too, and leaving the loop ends the work."""

import threading

import pytest

from search.api.event_stream import streamed
from search.errors import StudyError
from search.progress.search_events import Event


def event(number: int) -> Event:
    return Event("epoch", "cars", "now", trial=number)


def test_every_event_arrives_in_order():
    before = threading.active_count()
    assert [one.trial for one in streamed(lambda put: [put(event(n)) for n in range(100)])] == list(range(100))
    assert threading.active_count() == before


def test_nothing_starts_before_the_first_event_is_asked_for():
    begun = []
    events = streamed(lambda put: begun.append(True))
    assert begun == []
    assert list(events) == []
    assert begun == [True]


def test_an_error_of_the_search_is_raised_after_its_events():
    def work(put) -> None:
        put(event(1))
        raise StudyError("no room left")

    events = streamed(work)
    assert next(events).trial == 1
    with pytest.raises(StudyError, match="no room left"):
        next(events)


def test_leaving_the_loop_ends_the_work_at_its_next_event():
    passed, may_go_on, ended = [], threading.Event(), []

    def work(put) -> None:
        try:
            for number in range(1000):
                put(event(number))
                passed.append(number)
                may_go_on.wait(10)
        finally:
            ended.append(True)

    for one in streamed(work):
        assert one.trial == 0
        may_go_on.set()
        break
    assert ended == [True]
    assert len(passed) < 1000
