"""One driver at a time changes a study in a bucket."""

from collections.abc import Callable, Iterator

import pytest

from search.errors import StudyError
from search.study.bucket import driver_lock
from search.study.bucket.bucket import Bucket
from search.study.bucket.driver_lock import BucketLock
from search.study.bucket.mirror import StudyMirror

Make = Callable[[str], BucketLock]


@pytest.fixture
def bucket(machine: Callable[[str], StudyMirror]) -> Bucket:
    return machine("one").bucket


@pytest.fixture
def lock(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the lock of a machine. Times are short."""
    for name, value in {"RENEW_S": 0.2, "STALE_S": 1.5, "_SETTLE_S": 0.05, "_POLL_S": 0.05}.items():
        monkeypatch.setattr(driver_lock, name, value)
    made: list[BucketLock] = []

    def make(owner: str) -> BucketLock:
        made.append(BucketLock(bucket, "driver.json", owner))
        return made[-1]

    yield make
    for one in made:
        one.release()


def test_a_driver_that_renews_its_lock_keeps_others_out(lock: Make) -> None:
    lock("one").acquire()
    with pytest.raises(StudyError, match=r"is in use by process \d+ on .*: wait for it, stop it"):
        lock("two").acquire()


def test_a_released_lock_is_free_at_once(lock: Make, bucket: Bucket) -> None:
    first = lock("one")
    first.acquire()
    first.release()
    assert bucket.files() == {}
    lock("two").acquire()


def killed(lock: BucketLock) -> None:
    """As after a kill: the object stays and is not renewed."""
    lock.acquire()
    lock._ended.set()
    assert lock._thread is not None
    lock._thread.join()


def test_the_lock_of_a_driver_that_is_gone_is_taken_over(lock: Make, caplog: pytest.LogCaptureFixture) -> None:
    gone = lock("one")
    killed(gone)
    lock("two").acquire()
    assert "did not exit cleanly" in caplog.text
    gone._seen_s -= driver_lock.STALE_S  # as if it had been suspended
    with pytest.raises(StudyError, match=r"has taken the study over: this driver stops"):
        gone.check()


def test_the_next_process_of_the_same_folder_does_not_wait(lock: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(lock("one"))
    monkeypatch.setattr(driver_lock, "STALE_S", 1000.0)
    lock("one").acquire()
