"""A search whose record is in PostgreSQL ends as one with a file, although the server is killed in the middle."""

import shutil
import threading
from collections.abc import Callable

import pytest

from search.study.record.record_pointer import pointer_of
from search.worker.segment import Outcome
from tests.helpers.search.dispatch_desk import ACCURACIES, FINALS, Desk, finish, whole
from tests.helpers.search.postgres_server import PostgresServer

KILLED_AT = (2, 5, 6)
"""Numbers of recorded epochs, over the whole search, after which the server is killed."""


@pytest.fixture
def undisturbed(open_desk: Callable[..., Desk]):
    desk = open_desk(*FINALS)
    finish(desk, ACCURACIES)
    found = whole(desk)
    shutil.rmtree(desk.folder.root)
    return found


@pytest.mark.parametrize("back_after_s", [0.0, 0.6])
def test_a_killed_server_changes_no_result(
    undisturbed, open_desk: Callable[..., Desk], postgres: PostgresServer, back_after_s: float
) -> None:
    desk = open_desk(*FINALS, database=postgres.url())
    desk.study.retry_files(5, lambda: None)
    starts: list[threading.Timer] = []

    def disturb() -> None:
        if sum(record.fidelity for record in desk.study.records()) in KILLED_AT:
            postgres.kill()
            starts.append(threading.Timer(back_after_s, postgres.start))
            starts[-1].start()

    desk.listening.on_epoch = disturb
    finish(desk, ACCURACIES)
    for start in starts:
        start.join()
    assert len(starts) == len(KILLED_AT)
    assert whole(desk) == undisturbed


def test_another_driver_continues_after_the_server_came_back(
    undisturbed, open_desk: Callable[..., Desk], postgres: PostgresServer
) -> None:
    """The first driver gives up, as after `full_disk_minutes`; the next one resumes."""
    desk = open_desk(*FINALS, database=postgres.url())
    segment = desk.take()
    desk.epoch(segment.number, accuracy=ACCURACIES[0])
    postgres.kill()
    with pytest.raises(OSError, match=r"clos|terminat|refused"):
        desk.epoch(segment.number, ended=True, accuracy=ACCURACIES[0])
    postgres.start()
    desk = open_desk(*FINALS)
    assert pointer_of(desk.folder.log) is not None
    assert desk.study.interrupt_running() == (segment.number,)
    resumed = desk.take()
    assert (resumed.number, resumed.attempt) == (segment.number, 1)
    desk.epoch(resumed.number, ended=True, accuracy=ACCURACIES[0])
    if resumed.stop_after_stage:
        desk.epoch(resumed.number, stage=1, ended=True, accuracy=ACCURACIES[0])
    desk.dispatcher.segment_ended(resumed.number, Outcome("ended"))
    finish(desk, ACCURACIES)
    records, seen = whole(desk)
    assert seen == undisturbed[1]
    assert [record.params for record in records] == [record.params for record in undisturbed[0]]
    assert [record.reports for record in records] == [record.reports for record in undisturbed[0]]
