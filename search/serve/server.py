"""Serves one model to a browser on this machine: a page, and an address that takes one photo at a time.

Listens on the loopback only. A page of another site could still send requests there, so requests must name this server
as their host and, where a browser tells, come from its own page. A photo is untrusted: its size is bounded before it is
read, it goes to a temporary file, and the decoder of training checks what the file claims before it takes memory.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from search.terminal.logs import get_logger

HOST = "127.0.0.1"
MAX_BYTES = 32 * 2**20
"""Largest photo. Larger ones are refused before they are read."""
TIMEOUT_S = 20.0
"""For reading a request; slower clients are cut off."""
MOST_AT_ONCE = 16
"""Requests under way; more are refused."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says about one photo: classes with probabilities, the most likely first, or an error."""

    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


Classify = Callable[[Path], Answer]
"""One photo's file to an answer. Called by one thread at a time."""


class ModelServer(ThreadingHTTPServer):
    """Runs until `shutdown`. `port` is the one it got."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, classify: Classify, *, title: str, port: int = 0) -> None:
        """title: shown on the page. port: 0 for any free one. Raises OSError if the port is taken."""
        super().__init__((HOST, port), _Handler)
        self.title = title
        self.port: int = self.server_address[1]
        self.slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._classify = classify
        self._one_at_a_time = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request may call this server."""
        return (f"{HOST}:{self.port}", f"localhost:{self.port}")

    def classify(self, photo: bytes) -> Answer:
        """Answers for the bytes of one photo."""
        with tempfile.TemporaryDirectory(prefix="carsearch-") as folder:
            path = Path(folder) / "photo"
            path.write_bytes(photo)
            with self._one_at_a_time:
                answer = self._classify(path)
        # The reader's message names the temporary file.
        return Answer(answer.classes, answer.error and answer.error.replace(str(path), "the photo"))

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        """A client that went away is no news; anything else is logged."""
        _log.debug("a request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    timeout = TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "carsearch"
    sys_version = ""

    def do_GET(self) -> None:
        """The page and its files."""
        if not self._is_own():
            return
        if self.path == "/title":
            self._json(HTTPStatus.OK, {"title": self.server.title, "max_bytes": MAX_BYTES})
        elif self.path in _PAGES:
            name, kind = _PAGES[self.path]
            self._send(HTTPStatus.OK, (files("search.serve") / "assets" / name).read_bytes(), kind)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """One photo as the body of /classify."""
        self.close_connection = True  # a refused body stays unread
        if not self._is_own():
            return
        if self.path != "/classify":
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
            return
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdecimal()) or len(length) > 12:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "send a photo with its length")
        elif not 0 < int(length) <= MAX_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected a photo of up to {MAX_BYTES // 2**20} MiB, not {length} B",
            )
        elif not self.server.slots.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many photos at once: send it again")
        else:
            try:
                self._classify(int(length))
            finally:
                self.server.slots.release()

    def _classify(self, length: int) -> None:
        photo = self.rfile.read(length)
        if len(photo) != length:
            return  # the client is gone
        answer = self.server.classify(photo)
        if answer.error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, answer.error)
        else:
            rows = [{"name": name, "probability": round(share, 6)} for name, share in answer.classes]
            self._json(HTTPStatus.OK, {"classes": rows})

    def _is_own(self) -> bool:
        """False, with an answer sent, for a request of another site's page (DNS rebinding, cross-site posts)."""
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in self.server.hosts and (
            origin is None or origin.removeprefix("http://") in self.server.hosts
        ):
            return True
        self.close_connection = True
        self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own page only")
        return False

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._json(status, {"error": why})

    def _json(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the base class
        """Requests are not printed: their lines come from outside."""
