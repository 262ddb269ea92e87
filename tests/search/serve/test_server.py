"""`carsearch serve`: what it answers, and what it refuses."""

import http.client
import json
import socket
import threading

import cv2
import numpy as np
import pytest

from carcls.inference.export import load_model
from search.serve import server as module
from search.serve.server import MAX_BYTES, Answer, ModelServer
from tests.helpers.colour_model import write_colour_model


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    exported = load_model(write_colour_model(tmp_path_factory.mktemp("model")))

    def classify(photo):
        [found] = exported.predict_files([photo])
        return Answer(tuple(found.ranked(exported.card.class_names)), found.error)

    with ModelServer(classify, title="<b>colours</b>") as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def jpeg(*rgb: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), rgb[::-1], np.uint8))[1].tobytes()


def ask(server, method="POST", path="/classify", body=b"", headers=None):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def test_a_photo_gets_its_classes_the_most_likely_first(server):
    for name, rgb in {"red": (220, 20, 10), "green": (10, 220, 20), "blue": (20, 10, 220)}.items():
        status, headers, body = ask(server, body=jpeg(*rgb))
        assert (status, headers["Content-Type"]) == (200, "application/json")
        classes = json.loads(body)["classes"]
        assert classes[0]["name"] == name
        assert [one["probability"] for one in classes] == sorted((one["probability"] for one in classes), reverse=True)
        assert sum(one["probability"] for one in classes) == pytest.approx(1.0, abs=1e-4)


def test_the_page_runs_only_its_own_files(server):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, body = ask(server, "GET", path)
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"<b>colours" not in body
    assert json.loads(ask(server, "GET", "/title")[2])["title"] == "<b>colours</b>"


@pytest.mark.parametrize(
    "path", ["/../server.py", "/assets/page.html", "//etc/passwd", "/%2e%2e/server.py", "/classify"]
)
def test_no_other_file_is_served(server, path):
    assert ask(server, "GET", path)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"no photo",
        b"\xff\xd8\xff\xe0 nothing",
        jpeg(1, 2, 3)[:200],
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\x7f\xff\xff\xff" * 2 + b"\x08\x02\0\0\0" + b"\0" * 40,
    ],
)
def test_what_is_no_photo_is_refused_and_the_server_goes_on(server, body):
    status, _, told = ask(server, body=body)
    assert status == 422
    error = json.loads(told)["error"]
    assert error
    assert "/tmp" not in error, "names no file of this machine"  # noqa: S108 - what must not be there
    assert ask(server, body=jpeg(220, 0, 0))[0] == 200


def test_large_and_endless_bodies_are_refused_unread(server):
    assert ask(server, headers={"Content-Length": str(MAX_BYTES + 1)})[0] == 413
    assert ask(server, body=b"", headers={"Content-Length": "0"})[0] == 413
    for length in ("-1", "1e3", "٣", "9" * 40):
        assert raw(server, f"Content-Length: {length}").split()[1] in {"411", "413"}
    assert raw(server, "Transfer-Encoding: chunked").split()[1] == "411"


def raw(server, header: str) -> str:
    """The answer's first line to a request with one header of any form."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        host = f"Host: 127.0.0.1:{server.port}"
        connection.sendall(f"POST /classify HTTP/1.1\r\n{host}\r\n{header}\r\n\r\n".encode())
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_pages_of_other_sites_are_refused(server, headers):
    for method, path in (("GET", "/"), ("POST", "/classify")):
        status, _, body = ask(server, method, path, jpeg(9, 9, 9) if method == "POST" else b"", headers)
        assert (status, json.loads(body)) == (403, {"error": "this server answers its own page only"})
    own = {"Origin": f"http://localhost:{server.port}", "Host": f"localhost:{server.port}"}
    assert ask(server, body=jpeg(9, 9, 200), headers=own)[0] == 200


def test_only_this_machine_reaches_it(server):
    assert server.server_address[0] == "127.0.0.1"


def test_other_methods_are_refused(server):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(server, method, "/")[0] == 501


def test_a_client_that_sends_nothing_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(module._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(
            f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 9\r\n\r\nx".encode()
        )
        assert connection.recv(1) == b""
