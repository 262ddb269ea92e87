"""The lock of the one driver that may change a study in a bucket: an object that it renews.

A bucket has no locks, and pyarrow no conditional writes. So this lock is a convention: a driver that finds the object
watches whether it is renewed, and takes over one that is not. Two drivers that start within the same second are told
apart by reading the object again. A driver that was suspended for longer than the others wait looks at the object
before its next change. See docs/decisions/0091.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from uuid import uuid4

from search.errors import InUseError, StudyError
from search.study.bucket.bucket import Bucket
from search.terminal.logs import get_logger

_log = get_logger(__name__)

RENEW_S = 15.0
STALE_S = 60.0
"""A lock that is not renewed for so long is free."""
_SETTLE_S = 1.0
"""Between taking the lock and looking at whose it is."""
_POLL_S = 1.0
_ADVICE = "wait for it, stop it, or watch it with 'carsearch status'"


class BucketLock:
    """The lock of one driver. `owner` is the identity of its folder, whose own lock it must hold."""

    def __init__(self, bucket: Bucket, name: str, owner: str) -> None:
        self._bucket = bucket
        self._name = name
        self._content = {"driver": f"process {os.getpid()} on {socket.gethostname()}", "owner": owner}
        self._token = uuid4().hex
        self._renewed = 0
        self._seen_s = 0.0
        """When the lock was last known to be ours, by the monotonic clock."""
        self._lost = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock. Raises StudyError if another driver renews it, and OSError.

        Waits up to a minute for a lock of another machine that may be gone.
        """
        self._await_free()
        self._put()
        time.sleep(_SETTLE_S)
        self._look()
        if self._lost:
            raise InUseError(f"{self._bucket.url} is in use by {self._lost}: {_ADVICE}")
        self._thread = threading.Thread(target=self._renew, name="bucket lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Before a change. Raises StudyError if another driver has taken over, and OSError if that cannot be told."""
        if not self._lost and time.monotonic() - self._seen_s > STALE_S / 2:
            self._look()
        if self._lost:
            raise StudyError(f"{self._bucket.url}: {self._lost} has taken the study over: this driver stops")

    def release(self) -> None:
        """Free the lock. Never raises."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if not self._lost:
            with suppress(OSError):
                self._bucket.delete(self._name)

    def _await_free(self) -> None:
        first = found = self._read()
        began_s = time.monotonic()
        while found is not None and found.get("owner") != self._content["owner"]:
            if found != first:
                raise InUseError(f"{self._bucket.url} is in use by {found.get('driver')}: {_ADVICE}")
            if time.monotonic() - began_s >= STALE_S:
                _log.warning("%s: its last driver, %s, did not exit cleanly", self._bucket.url, found.get("driver"))
                return
            if found is first:
                _log.info("%s: waits %g s for %s, which may be gone", self._bucket.url, STALE_S, found.get("driver"))
            time.sleep(_POLL_S)
            found = self._read()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S) and not self._lost:
            with suppress(OSError):  # an outage, which the next change reports
                self._look()
                if not self._lost and not self._ended.is_set():
                    self._put()

    def _look(self) -> None:
        """Note whose lock it is."""
        found = self._read()
        if found is None or found.get("token") != self._token:
            self._lost = str((found or {}).get("driver") or "another process")
        else:
            self._seen_s = time.monotonic()

    def _put(self) -> None:
        self._renewed += 1
        content = {**self._content, "token": self._token, "renewed": self._renewed}
        self._bucket.put(self._name, json.dumps(content).encode())
        self._seen_s = time.monotonic()

    def _read(self) -> dict[str, object] | None:
        try:
            found = json.loads(self._bucket.get(self._name))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
