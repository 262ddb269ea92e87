"""A search whose record is in PostgreSQL ends as one with a file, although the server is killed in the middle."""

import shutil
from collections.abc import Callable

import pytest

from search.study.record.record_pointer import pointer_of
from tests.helpers.search.dispatch_desk import (
    ACCURACIES,
    FINALS,
    Desk,
    assert_same_results,
    continue_after_loss,
    finish,
    finish_with_kills,
    whole,
)
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
    finish_with_kills(desk, postgres, killed_at=KILLED_AT, back_after_s=back_after_s)
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
    continue_after_loss(desk, segment.number)
    assert_same_results(desk, undisturbed)
