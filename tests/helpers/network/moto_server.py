"""Serves moto's S3 on one address and keeps it over a kill. Runs in `.venv-s3`, which has moto and nothing of ours.

    .venv-s3/bin/python tests/helpers/network/moto_server.py ADDRESS PORT LOG

moto holds everything in memory. Each request that changes something is appended to LOG before it is answered, and
answered again at the next start.
"""

import base64
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_CHANGES = ("PUT", "POST", "DELETE")
_KEPT = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_URI", "CONTENT_TYPE", "CONTENT_LENGTH")


class KeptMoto:
    """A WSGI application: moto's own, with a log of what changed it."""

    def __init__(self, log: Path) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._log = log
        if log.exists():
            for line in log.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                self._answer({**kept["environ"], **_plain(base64.b64decode(kept["body"]))})

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = _body(environ)
        status, headers, content = self._answer({**environ, "wsgi.input": io.BytesIO(body)})
        if environ["REQUEST_METHOD"] in _CHANGES and status.startswith("2"):
            self._keep(environ, body)
        # moto names the root of this answer in a way that the C++ SDK of AWS takes for an error.
        content = content.replace(b"CompleteMultipartUploadResponse", b"CompleteMultipartUploadResult")
        headers = [(name, value) for name, value in headers if name.lower() != "content-length" or not content]
        start_response(status, [*headers, *([("Content-Length", str(len(content)))] if content else [])])
        return [content]

    def _keep(self, environ: dict[str, Any], body: bytes) -> None:
        query = environ.get("QUERY_STRING", "")
        if "partNumber=" in query or query.startswith("uploads"):
            return
        kept = {key: environ[key] for key in environ if key in _KEPT or key.startswith("HTTP_")}
        if "uploadId=" in query:  # a finished upload in parts is kept as one file, since its id would be another
            whole = {"HTTP_HOST": environ["HTTP_HOST"], "QUERY_STRING": "", "PATH_INFO": environ["PATH_INFO"]}
            body = self._answer({**_plain(b""), **whole, "REQUEST_METHOD": "GET"})[2]
            kept = {**whole, "REQUEST_METHOD": "PUT", "CONTENT_LENGTH": str(len(body))}
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"environ": kept, "body": base64.b64encode(body).decode()}) + "\n")

    def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        got: list[Any] = []
        answer = self._moto(environ, lambda status, headers, *_: got.extend((status, headers)))
        content = b"".join(answer)
        return got[0], got[1], content


def _body(environ: dict[str, Any]) -> bytes:
    if environ.get("wsgi.input_terminated"):
        return bytes(environ["wsgi.input"].read())
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def _plain(body: bytes) -> dict[str, Any]:
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
    }


if __name__ == "__main__":
    make_server(sys.argv[1], int(sys.argv[2]), KeptMoto(Path(sys.argv[3])), threaded=True).serve_forever()
